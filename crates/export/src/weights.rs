//! Where weights come from: one trait, so that the same network code serves a checkpoint and seeded numbers.

use std::borrow::Cow;
use std::io::{self, Write};

use half::{bf16, f16};

use super::Error;
use vla_base::tensor::{DType, display_dims};

mod finite;

pub(crate) use finite::{Finite, is_embodied};

/// Elements converted at a time while streaming.
const CHUNK: usize = 1 << 16;

/// Weights by the names that NVIDIA's checkpoints use.
pub trait Weights {
    /// The weight `name`; borrowed where the source is a mapped file.
    fn get(&self, name: &str) -> Result<Weight<'_>, Error>;

    /// Element type and dimensions of the weight `name`, without computing it.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn outline(&self, name: &str) -> Result<(DType, Vec<usize>), Error> {
        self.get(name).map(|weight| (weight.dtype, weight.dims))
    }

    /// Where the weight `name` is from, for messages: a file, as a rule.
    fn origin(&self, name: &str) -> String {
        format!("weight `{name}`")
    }
}

/// One weight: floating-point elements, row-major, little-endian.
#[derive(Clone, Debug)]
pub struct Weight<'a> {
    /// Name in the checkpoint.
    pub name: String,
    /// Element type: f32, f16 or bf16.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub dims: Vec<usize>,
    /// The elements.
    pub data: Cow<'a, [u8]>,
}

impl Weight<'_> {
    /// A weight computed here.
    pub fn computed(name: &str, dims: &[usize], values: &[f32]) -> Weight<'static> {
        let data = Cow::Owned(values.iter().flat_map(|v| v.to_le_bytes()).collect());
        Weight { name: name.to_owned(), dtype: DType::F32, dims: dims.to_vec(), data }
    }

    /// A table of whole numbers computed here; no weight of a network.
    pub fn whole(name: &str, dims: &[usize], values: &[i32]) -> Weight<'static> {
        let data = Cow::Owned(values.iter().flat_map(|v| v.to_le_bytes()).collect());
        Weight { name: name.to_owned(), dtype: DType::I32, dims: dims.to_vec(), data }
    }

    /// Weights of the same shape but for their first axis, one after the other along it.
    ///
    /// # Errors
    /// [`Error::WeightShape`] when another axis or the type differs from the first weight's.
    pub fn stacked(name: &str, parts: &[Weight<'_>]) -> Result<Weight<'static>, Error> {
        let first = parts.first().ok_or_else(|| Error::WeightShape {
            name: name.to_owned(),
            expected: "one weight or more".into(),
            found: "none".into(),
        })?;
        let (mut rows, mut data) = (0, Vec::with_capacity(parts.iter().map(|part| part.data.len()).sum()));
        for part in parts {
            let [own, inner] = [part, first].map(|weight| weight.dims.get(1..).unwrap_or_default());
            if own != inner || part.dtype != first.dtype {
                let text = |weight: &Weight<'_>, inner| format!("[.., {}] of {}", display_dims(inner), weight.dtype);
                let (expected, found) = (text(first, inner), text(part, own));
                return Err(Error::WeightShape { name: part.name.clone(), expected, found });
            }
            rows += part.dims.first().copied().unwrap_or(1);
            data.extend_from_slice(&part.data);
        }
        let mut dims = first.dims.clone();
        dims.iter_mut().take(1).for_each(|dim| *dim = rows);
        Ok(Weight { name: name.to_owned(), dtype: first.dtype, dims, data: Cow::Owned(data) })
    }

    /// The weight itself when its shape is `dims`, else the error that says what was found.
    pub fn shaped(self, dims: &[usize]) -> Result<Self, Error> {
        if self.dims == dims {
            return Ok(self);
        }
        let (expected, found) = (display_dims(dims), display_dims(&self.dims));
        Err(Error::WeightShape { name: self.name, expected, found })
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as single precision. For weights of moderate size; large ones are streamed by `Self::write_as`.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.len());
        match self.dtype {
            DType::F16 => values.extend(pairs(&self.data).map(|b| f16::from_le_bytes(b).to_f32())),
            DType::BF16 => values.extend(pairs(&self.data).map(|b| bf16::from_le_bytes(b).to_f32())),
            _ => values.extend(self.data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        }
        values
    }

    /// Entry `index` along the first axis: one embodiment's share of a weight of all. Borrows.
    pub fn entry(&self, index: usize) -> Result<Weight<'_>, Error> {
        let (count, dims) = self.dims.split_first().map_or((0, &[][..]), |(n, rest)| (*n, rest));
        if index >= count {
            let expected = format!("more than {index} entries along the first axis");
            return Err(Error::WeightShape { name: self.name.clone(), expected, found: display_dims(&self.dims) });
        }
        self.rows(index, 1).map(|weight| Weight {
            name: format!("{}[{index}]", self.name),
            dims: dims.to_vec(),
            ..weight
        })
    }

    /// `count` entries from `first` along the first axis. Borrows.
    pub fn rows(&self, first: usize, count: usize) -> Result<Weight<'_>, Error> {
        let mut dims = self.dims.clone();
        let range = dims.first_mut().and_then(|rows| {
            let stride = self.data.len().checked_div(*rows)?;
            let end = first.checked_add(count).filter(|end| *end <= *rows)?;
            *rows = count;
            Some(first * stride..end * stride)
        });
        let Some(range) = range else {
            let expected = format!("at least {} rows", first.saturating_add(count));
            return Err(Error::WeightShape { name: self.name.clone(), expected, found: display_dims(&self.dims) });
        };
        Ok(Weight { name: self.name.clone(), dtype: self.dtype, dims, data: Cow::Borrowed(&self.data[range]) })
    }

    /// The place of element `index`, row-major.
    pub(crate) fn place_of(&self, index: usize) -> Vec<usize> {
        let mut rest = index;
        let mut place: Vec<usize> = self
            .dims
            .iter()
            .rev()
            .map(|&size| {
                let at = rest % size.max(1);
                rest /= size.max(1);
                at
            })
            .collect();
        place.reverse();
        place
    }

    /// Writes the elements as `dtype` (f32, f16 or bf16), converting a bounded number at a time. Returns the index of the
    /// first finite element that `dtype` cannot hold, which becomes infinite.
    pub(crate) fn write_as(&self, dtype: DType, out: &mut dyn Write) -> io::Result<Option<usize>> {
        if dtype == self.dtype {
            out.write_all(&self.data)?;
            return Ok(None);
        }
        let mut overflow = None;
        let mut buffer = Vec::with_capacity(CHUNK * 4);
        for (at, chunk) in self.data.chunks(CHUNK * self.dtype.size()).enumerate() {
            let part = Weight {
                name: String::new(),
                dtype: self.dtype,
                dims: vec![chunk.len() / self.dtype.size()],
                data: Cow::Borrowed(chunk),
            };
            let values = part.to_f32();
            buffer.clear();
            for value in &values {
                match dtype {
                    DType::F16 => buffer.extend(f16::from_f32(*value).to_le_bytes()),
                    DType::BF16 => buffer.extend(bf16::from_f32(*value).to_le_bytes()),
                    _ => buffer.extend(value.to_le_bytes()),
                }
            }
            if dtype == DType::F16 && overflow.is_none() {
                overflow = first_beyond_f16(&values).map(|index| at * CHUNK + index);
            }
            out.write_all(&buffer)?;
        }
        Ok(overflow)
    }
}

/// The first finite value that is infinite in FP16.
fn first_beyond_f16(values: &[f32]) -> Option<usize> {
    // One comparison a value; the search is for what is refused.
    let most = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    if most <= f16::MAX.to_f32() {
        return None;
    }
    values.iter().position(|value| value.is_finite() && f16::from_f32(*value).is_infinite())
}

fn pairs(data: &[u8]) -> impl Iterator<Item = [u8; 2]> + '_ {
    data.chunks_exact(2).map(|b| [b[0], b[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Weight<'static> {
        Weight::computed("w", &[3, 2], &[0.0, 1.0, 2.0, -3.0, 0.5, 65504.0])
    }

    #[test]
    fn weights_are_stacked_along_the_first_axis_when_the_others_agree() {
        let (one, two) =
            (Weight::computed("a", &[1, 2], &[1.0, 2.0]), Weight::computed("b", &[2, 2], &[3.0, 4.0, 5.0, 6.0]));
        let both = Weight::stacked("ab", &[one.clone(), two]).expect("of one width");
        assert_eq!((both.dims.as_slice(), both.to_f32()), (&[3, 2][..], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let wide = Weight::computed("wide", &[1, 3], &[0.0; 3]);
        assert!(matches!(Weight::stacked("x", &[one, wide]), Err(Error::WeightShape { name, .. }) if name == "wide"));
    }

    #[test]
    fn an_entry_is_one_slice_along_the_first_axis() {
        let weight = sample();
        let entry = weight.entry(1).expect("inside");
        assert_eq!((entry.dims.as_slice(), entry.to_f32()), (&[2][..], vec![2.0, -3.0]));
        assert!(matches!(weight.entry(3), Err(Error::WeightShape { .. })));
    }

    #[test]
    fn rows_outside_are_refused_by_name() {
        let error = sample().rows(2, 2).expect_err("only three rows").to_string();
        assert!(error.contains("`w`") && error.contains("at least 4 rows") && error.contains("[3, 2]"), "{error}");
        assert!(sample().rows(usize::MAX, 2).is_err());
    }

    #[test]
    fn what_fp16_cannot_hold_is_noticed_and_what_rounds_to_its_largest_is_not() {
        let mut values = vec![0.5; CHUNK + 3];
        let overflow = |values: &[f32], dtype| {
            Weight::computed("w", &[values.len()], values).write_as(dtype, &mut Vec::new()).expect("memory")
        };
        values[1] = 65_519.0;
        assert_eq!(overflow(&values, DType::F16), None);
        (values[CHUNK + 1], values[CHUNK + 2]) = (-65_520.0, 1e30);
        assert_eq!(overflow(&values, DType::F16), Some(CHUNK + 1));
        assert_eq!(overflow(&values, DType::BF16), None);
    }

    #[test]
    fn conversion_while_streaming_equals_conversion_in_one_piece() {
        let values: Vec<f32> = (0..CHUNK as i32 + 7).map(|i| i as f32 * 0.37 - 900.0).collect();
        let weight = Weight::computed("long", &[values.len()], &values);
        let mut half_bytes = Vec::new();
        weight.write_as(DType::BF16, &mut half_bytes).expect("memory");
        let expected: Vec<u8> = values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
        assert_eq!(half_bytes, expected);
        let back = Weight { dtype: DType::BF16, data: Cow::Owned(half_bytes), ..weight };
        let mut single = Vec::new();
        back.write_as(DType::F32, &mut single).expect("memory");
        assert_eq!(single.len(), values.len() * 4);
        assert_eq!(&single[..4], bf16::from_f32(values[0]).to_f32().to_le_bytes());
    }
}
