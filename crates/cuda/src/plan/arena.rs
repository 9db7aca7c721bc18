//! Offsets in the arena: values that are never live together share memory.

/// Offsets are multiples of this, as the allocations of the driver are.
pub(super) const ALIGNMENT: u64 = 256;

/// A piece of memory with its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) bytes: u64,
    /// First and last launch that uses it.
    pub(super) first: usize,
    pub(super) last: usize,
}

impl Piece {
    fn lives_with(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Offsets of the pieces, and the arena's size: the smallest of three orders in which each piece takes the lowest room that is free
/// during its life.
pub(super) fn place(pieces: &[Piece]) -> (Vec<u64>, u64) {
    let largest = |piece: &Piece| u64::MAX - piece.bytes;
    let longest = |piece: &Piece| u64::MAX - (piece.last - piece.first) as u64;
    let first = |piece: &Piece| piece.first as u64;
    let orders = [
        order(pieces, |piece| (largest(piece), first(piece))),
        order(pieces, |piece| (longest(piece), largest(piece))),
        order(pieces, |piece| (first(piece), largest(piece))),
    ];
    let placed = orders.map(|order| place_in(pieces, &order));
    placed.into_iter().min_by_key(|(_, bytes)| *bytes).unwrap_or_default()
}

fn order(pieces: &[Piece], key: impl Fn(&Piece) -> (u64, u64)) -> Vec<usize> {
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by_key(|index| key(&pieces[*index]));
    order
}

fn place_in(pieces: &[Piece], order: &[usize]) -> (Vec<u64>, u64) {
    let mut offsets = vec![0; pieces.len()];
    // Sorted by offset.
    let mut placed: Vec<usize> = Vec::with_capacity(pieces.len());
    let mut arena = 0;
    for index in order {
        let piece = &pieces[*index];
        let mut offset = 0;
        for other in placed.iter().filter(|other| pieces[**other].lives_with(piece)) {
            if offset + piece.bytes <= offsets[*other] {
                break;
            }
            offset = offset.max((offsets[*other] + pieces[*other].bytes).next_multiple_of(ALIGNMENT));
        }
        offsets[*index] = offset;
        arena = arena.max((offset + piece.bytes).next_multiple_of(ALIGNMENT));
        let at = placed.partition_point(|other| offsets[*other] <= offset);
        placed.insert(at, *index);
    }
    (offsets, arena)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece() -> impl Strategy<Value = Piece> {
        (1_u64..5000, 0_usize..40, 0_usize..12).prop_map(|(bytes, first, life)| Piece {
            bytes,
            first,
            last: first + life,
        })
    }

    proptest! {
        #[test]
        fn pieces_that_live_together_do_not_overlap(pieces in prop::collection::vec(piece(), 0..60)) {
            let (offsets, arena) = place(&pieces);
            for (i, a) in pieces.iter().enumerate() {
                prop_assert!(offsets[i] % ALIGNMENT == 0 && offsets[i] + a.bytes <= arena);
                for (j, b) in pieces.iter().enumerate().skip(i + 1) {
                    let apart = offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
                    prop_assert!(apart || !a.lives_with(b), "{i} and {j}");
                }
            }
            let live = |at| pieces.iter().filter(|p| p.first <= at && at <= p.last).map(|p| p.bytes.next_multiple_of(ALIGNMENT)).sum();
            let least: u64 = (0..60).map(live).max().unwrap_or(0);
            prop_assert!(arena >= least);
            let all: u64 = pieces.iter().map(|p| p.bytes.next_multiple_of(ALIGNMENT)).sum();
            prop_assert!(arena <= all);
        }
    }

    #[test]
    fn a_chain_takes_two_neighbours() {
        let chain = |i: usize| Piece { bytes: 256 * (1 + i as u64 % 2), first: i, last: i + 1 };
        let pieces: Vec<Piece> = (0..30).map(chain).collect();
        assert_eq!(place(&pieces).1, 256 * (1 + 2), "two of them live at each launch");
    }
}
