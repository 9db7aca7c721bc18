//! Shape rules of the operators; `None` where operands do not fit.

use vla_base::tensor::Dim;

/// NumPy broadcasting. A symbol fits itself and 1.
pub(crate) fn broadcast(a: &[Dim], b: &[Dim]) -> Option<Vec<Dim>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[Dim], i: usize| (i + dims.len()).checked_sub(rank).map_or(Dim::Fixed(1), |j| dims[j].clone());
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (Dim::Fixed(1), y) => Some(y),
            (x, Dim::Fixed(1)) => Some(x),
            _ => None,
        })
        .collect()
}

/// Matrix product over the last two axes, broadcasting the others.
pub(crate) fn matmul(a: &[Dim], b: &[Dim]) -> Option<Vec<Dim>> {
    let ([batch_a @ .., m, k], [batch_b @ .., k_b, n]) = (a, b) else { return None };
    if k != k_b {
        return None;
    }
    let mut dims = broadcast(batch_a, batch_b)?;
    dims.extend([m.clone(), n.clone()]);
    Some(dims)
}

/// The constant that turns `from` into `to`: sizes, 0 for an axis kept in place, at most one -1.
pub(crate) fn reshape(from: &[Dim], to: &[Dim]) -> Option<Vec<i64>> {
    let split = |dims: &[Dim]| {
        let mut count = 1_usize;
        let mut symbols = Vec::new();
        for dim in dims {
            match dim {
                Dim::Fixed(n) => count = count.checked_mul(*n)?,
                Dim::Symbol(name) => symbols.push(name.clone()),
            }
        }
        symbols.sort();
        Some((count, symbols))
    };
    if split(from)? != split(to)? {
        return None;
    }
    let mut inferred = 0;
    let constant = to
        .iter()
        .enumerate()
        .map(|(i, dim)| match dim {
            Dim::Fixed(n) => i64::try_from(*n).ok(),
            Dim::Symbol(_) if from.get(i) == Some(dim) => Some(0),
            Dim::Symbol(_) => {
                inferred += 1;
                Some(-1)
            }
        })
        .collect::<Option<Vec<_>>>()?;
    (inferred <= 1).then_some(constant)
}

/// Shapes joined along `axis`. The sum with a symbol is a new symbol, e.g. `T+60`.
pub(crate) fn concat(shapes: &[&[Dim]], axis: usize) -> Option<Vec<Dim>> {
    let (first, rest) = shapes.split_first()?;
    let mut dims = first.to_vec();
    for other in rest {
        if other.len() != dims.len() {
            return None;
        }
        for (i, (mine, theirs)) in dims.iter_mut().zip(*other).enumerate() {
            if i == axis {
                *mine = match (&*mine, theirs) {
                    (Dim::Fixed(a), Dim::Fixed(b)) => Dim::Fixed(a + b),
                    (a, b) => Dim::Symbol(format!("{a}+{b}")),
                };
            } else if mine != theirs {
                return None;
            }
        }
    }
    (axis < dims.len()).then_some(dims)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(spec: &str) -> Vec<Dim> {
        spec.split_whitespace().map(|d| d.parse().map_or(Dim::Symbol(d.to_owned()), Dim::Fixed)).collect()
    }

    #[test]
    fn broadcasting_aligns_from_the_right_and_stretches_only_ones() {
        assert_eq!(broadcast(&dims("1 4 S 8"), &dims("S 8")), Some(dims("1 4 S 8")));
        assert_eq!(broadcast(&dims("S 1"), &dims("1 S")), Some(dims("S S")));
        assert_eq!(broadcast(&dims("3 8"), &dims("2 8")), None);
        assert_eq!(broadcast(&dims("S 8"), &dims("T 8")), None);
        assert_eq!(broadcast(&dims("S"), &dims("4")), None);
    }

    #[test]
    fn matrix_product_needs_equal_inner_sizes() {
        assert_eq!(matmul(&dims("1 4 S 8"), &dims("1 4 8 T")), Some(dims("1 4 S T")));
        assert_eq!(matmul(&dims("S 8"), &dims("9 4")), None);
        assert_eq!(matmul(&dims("8"), &dims("8 4")), None);
    }

    #[test]
    fn reshape_keeps_infers_or_refuses() {
        assert_eq!(reshape(&dims("S 32"), &dims("S 4 8")), Some(vec![0, 4, 8]));
        assert_eq!(reshape(&dims("S 32"), &dims("1 S 4 8")), Some(vec![1, -1, 4, 8]));
        assert_eq!(reshape(&dims("1 S 4 8"), &dims("S 32")), Some(vec![-1, 32]));
        assert_eq!(reshape(&dims("S 32"), &dims("S 33")), None);
        assert_eq!(reshape(&dims("S T"), &dims("T S")), None, "two sizes cannot be inferred");
        assert_eq!(reshape(&dims("S 2"), &dims("T 2")), None);
    }

    #[test]
    fn concat_adds_one_axis_and_wants_the_others_equal() {
        assert_eq!(concat(&[&dims("2 8"), &dims("3 8")], 0), Some(dims("5 8")));
        assert_eq!(concat(&[&dims("T 8"), &dims("60 8")], 0), Some(dims("T+60 8")));
        assert_eq!(concat(&[&dims("2 8"), &dims("3 9")], 0), None);
        assert_eq!(concat(&[&dims("2 8"), &dims("3 8")], 2), None);
    }
}
