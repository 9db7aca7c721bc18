//! Weights that are checked for NaN and infinity when they are read first.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::{Weight, Weights};
use crate::Error;
use vla_base::tensor::DType;

/// Elements looked at together: a chunk is compared as a whole, and searched only when something is in it.
const CHUNK: usize = 1 << 12;

/// Refuses a weight with NaN or infinity in it. Of a weight of all embodiments only the exported one's share counts.
pub(crate) struct Finite<'a> {
    inner: &'a dyn Weights,
    embodiment: usize,
    seen: RefCell<BTreeSet<String>>,
}

impl<'a> Finite<'a> {
    /// Checks the weights of `inner` for the embodiment of this row.
    pub(crate) fn new(inner: &'a dyn Weights, embodiment: usize) -> Self {
        Self { inner, embodiment, seen: RefCell::new(BTreeSet::new()) }
    }

    fn check(&self, weight: &Weight<'_>) -> Result<(), Error> {
        let share = if is_embodied(&weight.name) { Some(weight.entry(self.embodiment)?) } else { None };
        let looked_at = share.as_ref().unwrap_or(weight);
        let Some(found) = looked_at.not_finite() else { return Ok(()) };
        Err(Error::NotFinite {
            origin: self.inner.origin(&weight.name),
            name: looked_at.name.clone(),
            at: looked_at.place_of(found.first),
            found: found.value,
            count: found.count,
        })
    }
}

impl Weights for Finite<'_> {
    fn get(&self, name: &str) -> Result<Weight<'_>, Error> {
        let weight = self.inner.get(name)?;
        if self.seen.borrow_mut().insert(name.to_owned()) {
            self.check(&weight)?;
        }
        Ok(weight)
    }

    fn outline(&self, name: &str) -> Result<(DType, Vec<usize>), Error> {
        self.inner.outline(name)
    }

    fn origin(&self, name: &str) -> String {
        self.inner.origin(name)
    }
}

/// Whether a weight has an entry for each embodiment, by its name: those of a `CategorySpecificLinear`.
pub(crate) fn is_embodied(name: &str) -> bool {
    name.ends_with(".W") || name.ends_with(".b")
}

/// What is not finite in a weight.
pub(crate) struct NotFinite {
    /// Index of the first such element.
    pub first: usize,
    /// Its value.
    pub value: f32,
    /// How many there are.
    pub count: usize,
}

impl Weight<'_> {
    /// Elements that are NaN or infinite.
    pub(crate) fn not_finite(&self) -> Option<NotFinite> {
        match self.dtype {
            DType::F16 => self.search(|bytes: [u8; 2]| u16::from_le_bytes(bytes) & 0x7c00 == 0x7c00),
            DType::BF16 => self.search(|bytes: [u8; 2]| u16::from_le_bytes(bytes) & 0x7f80 == 0x7f80),
            DType::F32 => self.search(|bytes: [u8; 4]| u32::from_le_bytes(bytes) & 0x7f80_0000 == 0x7f80_0000),
            _ => None,
        }
    }

    /// Elements of `N` bytes for which `is_special` holds. Free of branches a chunk, so that the compiler vectorises it.
    fn search<const N: usize>(&self, is_special: impl Fn([u8; N]) -> bool) -> Option<NotFinite> {
        let (elements, _) = self.data.as_chunks::<N>();
        let mut found: Option<NotFinite> = None;
        for (at, chunk) in elements.chunks(CHUNK).enumerate() {
            if !chunk.iter().fold(false, |any, element| any | is_special(*element)) {
                continue;
            }
            let in_chunk = chunk.iter().enumerate().filter(|(_, element)| is_special(**element));
            for (index, _) in in_chunk {
                let index = at * CHUNK + index;
                found.get_or_insert_with(|| NotFinite { first: index, value: self.value(index), count: 0 }).count += 1;
            }
        }
        found
    }

    /// Element `index`, row-major; NaN beyond the end.
    pub(crate) fn value(&self, index: usize) -> f32 {
        let size = self.dtype.size();
        let data = self.data.get(index * size..(index + 1) * size).unwrap_or_default();
        let one = Weight { name: String::new(), dtype: self.dtype, dims: vec![1], data: data.into() };
        one.to_f32().first().copied().unwrap_or(f32::NAN)
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    fn as_type(values: &[f32], dtype: DType) -> Weight<'static> {
        let mut data = Vec::new();
        for value in values {
            match dtype {
                DType::F16 => data.extend(f16::from_f32(*value).to_le_bytes()),
                DType::BF16 => data.extend(bf16::from_f32(*value).to_le_bytes()),
                _ => data.extend(value.to_le_bytes()),
            }
        }
        Weight { name: "w".into(), dtype, dims: vec![values.len() / 2, 2], data: data.into() }
    }

    #[test]
    fn nan_and_infinity_are_found_in_every_type_with_place_and_count() {
        let mut values = vec![1.0, -3.0e4, 0.0, -0.0, 6.0e-8, 6.0e4];
        values.resize(3 * CHUNK, 0.5);
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            assert!(as_type(&values, dtype).not_finite().is_none(), "{dtype}");
        }
        values[CHUNK + 3] = f32::NEG_INFINITY;
        values[2 * CHUNK + 1] = f32::NAN;
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let weight = as_type(&values, dtype);
            let found = weight.not_finite().expect("two");
            assert_eq!((found.first, found.value, found.count), (CHUNK + 3, f32::NEG_INFINITY, 2), "{dtype}");
            assert_eq!(weight.place_of(found.first), [(CHUNK + 3) / 2, 1]);
        }
    }

    struct One(Weight<'static>);

    impl Weights for One {
        fn get(&self, _name: &str) -> Result<Weight<'_>, Error> {
            Ok(self.0.clone())
        }

        fn origin(&self, _name: &str) -> String {
            "model.safetensors".into()
        }
    }

    #[test]
    fn of_a_weight_of_all_embodiments_only_the_exported_share_counts() {
        let mut weight = as_type(&[1.0, 2.0, f32::NAN, 4.0], DType::F32);
        weight.name = "action_head.state_encoder.layer1.W".into();
        let one = One(weight);
        assert!(Finite::new(&one, 0).get(&one.0.name).is_ok());
        let error = Finite::new(&one, 1).get(&one.0.name).expect_err("NaN");
        let Error::NotFinite { origin, name, at, found, count } = error else { panic!("{error}") };
        assert_eq!((origin.as_str(), at.as_slice(), count), ("model.safetensors", &[0][..], 1));
        assert!(found.is_nan() && name.ends_with("layer1.W[1]"), "{found} {name}");
    }
}
