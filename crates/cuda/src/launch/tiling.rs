//! Weights in the order in which a kernel reads them.

use super::{Address, Arguments, GatherArguments, Kernel, Launch, Matrix, PermuteArguments, TensorTile};

/// A weight `[to, from]` in 16 bits that lies in tiles of `outputs` rows and 64 channels, one behind the other along the channels: what
/// `tensor_product` copies at a time is in one place. The last tiles have the rows that are left. Each row of tiles lies where its rows
/// lay.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tiling {
    /// Of the weight.
    pub weight: Address,
    /// Channels, a multiple of 64.
    pub from: i32,
    pub to: i32,
    /// Rows of a tile.
    pub outputs: u32,
}

impl Tiling {
    /// Launches that put the dense weight into tiles by way of `room`, which has so many bytes; `None` where those of one row of tiles are
    /// more.
    pub fn launches(&self, room: Address, bytes: u64) -> Option<Vec<Launch>> {
        let tile = i32::try_from(self.outputs).ok()?;
        let fitting = i32::try_from(bytes / self.bytes_of(tile)).unwrap_or(i32::MAX);
        let mut launches = Vec::new();
        let mut row = 0;
        while row < self.to && fitting > 0 {
            let (count, rows) = match (self.to - row) / tile {
                0 => (1, self.to - row),
                whole => (whole.min(fitting), tile),
            };
            launches.extend(self.move_rows(row, (count, rows), room));
            row += count * rows;
        }
        (row >= self.to).then_some(launches)
    }

    fn bytes_of(&self, rows: i32) -> u64 {
        2 * u64::from(rows.unsigned_abs()) * u64::from(self.from.unsigned_abs())
    }

    /// `count` rows of tiles of `rows` rows, to `room` and back.
    fn move_rows(&self, first: i32, (count, rows): (i32, i32), room: Address) -> [Launch; 2] {
        let (stride, channels) = (i64::from(self.from), TensorTile::CHANNELS as i32);
        let place = self.weight + self.bytes_of(first);
        let tiles = PermuteArguments {
            x: place,
            y: room,
            strides: [0, 0, i64::from(rows) * stride, i64::from(channels), stride, 1],
            dims: [1, 1, count, self.from / channels, rows, channels],
            size: 2,
            _padding: 0,
        };
        let whole = |address| Matrix { address, stride: 2 * stride };
        let (table, y) = (whole(room), whole(place));
        let back = GatherArguments { table, y, index: 0, bytes: 2 * stride, rows: count * rows, entries: 0 };
        [
            Launch::Kernel { kernel: Kernel::Permute, arguments: Arguments::Permute(tiles) },
            Launch::Kernel { kernel: Kernel::Gather, arguments: Arguments::Gather(back) },
        ]
    }
}
