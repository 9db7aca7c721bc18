//! Tensors as strided views of values and weights.

use vla_base::tensor::Dim;
use vla_engines::operations::{Operand, Size, Source};

/// One axis of a view.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Axis {
    /// Elements along it.
    pub(super) size: Size,
    /// Elements of the source from one to the next.
    pub(super) stride: Size,
}

/// A tensor whose elements are some of a source's.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct View {
    pub(super) source: Source,
    /// Element of the source that it begins with.
    pub(super) offset: usize,
    /// Outermost first.
    pub(super) axes: Vec<Axis>,
}

/// A view as axes of the source in another order.
pub(super) struct Permutation {
    /// The rows and columns of the source.
    pub(super) x: Operand,
    /// Axes of `x` in its order.
    pub(super) dims: Vec<Dim>,
    /// Axis of `x` that each axis of the view is, those of size 1 left out.
    pub(super) order: Vec<usize>,
}

impl View {
    /// All elements of `source` as `sizes`; `None` where their number does not fit.
    pub(super) fn whole(source: Source, sizes: &[Size]) -> Option<Self> {
        let mut axes = Vec::with_capacity(sizes.len());
        let mut stride = Size::number(1);
        for size in sizes.iter().rev() {
            axes.push(Axis { size: size.clone(), stride: stride.clone() });
            stride = stride.times(size)?;
        }
        axes.reverse();
        Some(Self { source, offset: 0, axes })
    }

    /// Number of elements.
    pub(super) fn count(&self) -> Option<Size> {
        self.axes.iter().try_fold(Size::number(1), |count, axis| count.times(&axis.size))
    }

    /// Whether it is `count` elements from the first on, in their order.
    pub(super) fn is_whole(&self, count: &Size) -> bool {
        self.offset == 0
            && match self.merged().as_deref() {
                Some([]) => count.fixed() == Some(1),
                Some([axis]) => axis.stride.fixed() == Some(1) && axis.size == *count,
                _ => false,
            }
    }

    /// Axis `i` of the result is axis `order[i]`.
    pub(super) fn transposed(&self, order: &[usize]) -> Option<Self> {
        let axes = order.iter().map(|axis| self.axes.get(*axis).cloned()).collect::<Option<_>>()?;
        Some(Self { source: self.source, offset: self.offset, axes })
    }

    /// `size` elements from `from` on along `axis`.
    pub(super) fn sliced(&self, axis: usize, from: usize, size: Size) -> Option<Self> {
        let mut cut = self.clone();
        let along = cut.axes.get_mut(axis)?;
        if from > 0 {
            cut.offset = cut.offset.checked_add(along.stride.fixed()?.checked_mul(from)?)?;
        }
        along.size = size;
        Some(cut)
    }

    /// The same elements in their order as `sizes`; `None` where these are no axes of the source.
    pub(super) fn reshaped(&self, sizes: &[Size]) -> Option<Self> {
        let mut axes = Vec::with_capacity(sizes.len());
        let mut inner = sizes.iter().rev();
        for block in self.merged()?.into_iter().rev() {
            let (mut seen, mut stride) = (Size::number(1), block.stride);
            while seen != block.size {
                let size = inner.next()?;
                axes.push(Axis { size: size.clone(), stride: stride.clone() });
                (seen, stride) = (seen.times(size)?, stride.times(size)?);
            }
        }
        for size in inner {
            if size.fixed() != Some(1) {
                return None;
            }
            axes.push(Axis { size: size.clone(), stride: Size::number(0) });
        }
        axes.reverse();
        Some(Self { source: self.source, offset: self.offset, axes })
    }

    /// As a matrix whose columns are the last axis, from a source with rows of `width` elements.
    pub(super) fn matrix(&self, width: usize) -> Option<Operand> {
        let (last, leading) = self.axes.split_last()?;
        let columns = last.size.fixed()?;
        if columns != 1 && last.stride.fixed() != Some(1) {
            return None;
        }
        let leading = Self { source: self.source, offset: 0, axes: leading.to_vec() };
        let rows = match leading.merged()?.as_slice() {
            [] => Size::number(1),
            [rows] if rows.stride.fixed() == Some(width) => rows.size.clone(),
            _ => return None,
        };
        let (row, column) = (self.offset.checked_div(width)?, self.offset.checked_rem(width)?);
        let inside = column.checked_add(columns).is_some_and(|end| end <= width);
        inside.then(|| Operand { source: self.source, rows: rows.dim(), row, columns, column })
    }

    /// As axes of the source in another order, from a source with rows of `width` elements.
    pub(super) fn permutation(&self, width: usize) -> Option<Permutation> {
        let mut left: Vec<(usize, &Axis)> =
            self.axes.iter().filter(|axis| axis.size.fixed() != Some(1)).enumerate().collect();
        // From the innermost axis of the source on, each where the one before ends.
        let (mut chain, mut end, mut columns) = (Vec::new(), Size::number(1), None);
        while !left.is_empty() {
            if columns.is_none() && end.fixed() == Some(width) {
                columns = end.fixed();
            }
            let mut next = left.iter().position(|(_, axis)| axis.stride == end);
            if next.is_none() && columns.is_none() {
                columns = end.fixed().filter(|columns| *columns < width);
                next = left.iter().position(|(_, axis)| axis.stride.fixed() == Some(width));
            }
            let (place, axis) = left.remove(next?);
            end = axis.stride.times(&axis.size)?;
            chain.push((place, axis));
        }
        let columns = match columns {
            Some(columns) => columns,
            None => end.fixed().filter(|columns| *columns <= width)?,
        };
        chain.reverse();
        let dims: Vec<Dim> = chain.iter().map(|(_, axis)| axis.size.dim()).collect();
        let mut order = vec![0; chain.len()];
        for (at, (place, _)) in chain.iter().enumerate() {
            *order.get_mut(*place)? = at;
        }
        let (row, column) = (self.offset.checked_div(width)?, self.offset.checked_rem(width)?);
        let inside = column.checked_add(columns).is_some_and(|end| end <= width);
        let rows = self.count()?.over(columns)?.dim();
        inside.then_some(Permutation { x: Operand { source: self.source, rows, row, columns, column }, dims, order })
    }

    /// Its axes without those of size 1, neighbours that lie one after the other as one.
    fn merged(&self) -> Option<Vec<Axis>> {
        let mut merged: Vec<Axis> = Vec::new();
        for axis in self.axes.iter().filter(|axis| axis.size.fixed() != Some(1)) {
            let Some(outer) = merged.last_mut() else {
                merged.push(axis.clone());
                continue;
            };
            if outer.stride == axis.stride.times(&axis.size)? {
                *outer = Axis { size: outer.size.times(&axis.size)?, stride: axis.stride.clone() };
            } else {
                merged.push(axis.clone());
            }
        }
        Some(merged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(text: &str) -> Vec<Size> {
        let dim = |part: &str| part.parse().map_or_else(|_| Dim::Symbol(part.to_owned()), Dim::Fixed);
        text.split_whitespace().map(|part| Size::of(&dim(part)).expect("a size")).collect()
    }

    fn whole(text: &str) -> View {
        View::whole(Source::Value(0), &sizes(text)).expect("fits")
    }

    fn shown(operand: &Operand) -> (String, usize, usize, usize) {
        (operand.rows.to_string(), operand.row, operand.columns, operand.column)
    }

    #[test]
    fn heads_of_rows_are_a_view_and_are_the_rows_again() {
        let heads = whole("T 32").reshaped(&sizes("1 T 4 8")).expect("split").transposed(&[0, 2, 1, 3]).expect("axes");
        let rows = heads.transposed(&[0, 2, 1, 3]).expect("axes").reshaped(&sizes("T 32")).expect("joined");
        assert_eq!(shown(&rows.matrix(32).expect("a matrix")), ("T".to_owned(), 0, 32, 0));
        assert!(heads.reshaped(&sizes("T 32")).is_none(), "heads first are no rows");
        let permutation = heads.permutation(32).expect("axes of the source");
        assert_eq!(permutation.dims, [Dim::Symbol("T".to_owned()), Dim::Fixed(4), Dim::Fixed(8)]);
        assert_eq!(permutation.order, [1, 0, 2]);
    }

    #[test]
    fn slices_are_rows_and_columns() {
        let part = whole("T 32").sliced(1, 8, Size::number(16)).expect("inside");
        assert_eq!(shown(&part.matrix(32).expect("a matrix")), ("T".to_owned(), 0, 16, 8));
        assert!(part.reshaped(&sizes("16 T")).is_none());
        let row = whole("9 32").sliced(0, 3, Size::number(1)).expect("inside").reshaped(&sizes("32")).expect("a row");
        assert_eq!(shown(&row.matrix(32).expect("a matrix")), ("1".to_owned(), 3, 32, 0));
        assert!(whole("T 32").transposed(&[1, 0]).expect("axes").sliced(1, 2, Size::number(1)).is_some());
        assert!(whole("2 T 8").sliced(0, 1, Size::number(1)).is_none(), "an offset that depends on T");
    }

    #[test]
    fn patches_are_a_permutation_of_pixels_and_of_their_columns() {
        let cells = whole("2 3 4 6").reshaped(&sizes("2 3 2 2 3 2")).expect("split");
        let permutation = cells.transposed(&[0, 2, 4, 3, 5, 1]).expect("axes").permutation(6).expect("axes of pixels");
        assert_eq!(shown(&permutation.x), ("24".to_owned(), 0, 6, 0));
        assert_eq!(permutation.order, [0, 2, 4, 3, 5, 1]);
        let columns = whole("T 96").sliced(1, 32, Size::number(32)).expect("inside");
        let heads = columns.reshaped(&sizes("T 4 8")).expect("split").transposed(&[1, 0, 2]).expect("axes");
        let permutation = heads.permutation(96).expect("axes of a part");
        assert_eq!((shown(&permutation.x), permutation.order), (("T".to_owned(), 0, 32, 32), vec![1, 0, 2]));
    }
}
