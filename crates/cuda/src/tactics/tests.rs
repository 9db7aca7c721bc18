use std::cell::Cell;

use super::*;
use crate::kernels::Limits;
use crate::launch::{ByteTile, Matrix, Scales, TensorTile};

fn machine() -> Machine {
    let text = |text: &str| text.to_owned();
    Machine {
        device: text("NVIDIA Thor"),
        compute_capability: text("11.0"),
        driver: text("580.00"),
        cublaslt: text("130000"),
    }
}

fn key(rows: i32, follows: Follows) -> Key {
    let (element, eight_bits, epilogue) = (Element::F16, false, Epilogue::None);
    Key { element, eight_bits, from: 1536, to: 6144, transposed: true, epilogue, follows, rows, may_tile: false }
}

fn tactic(parts: u32, microseconds: f64) -> Tactic {
    Tactic { split: Split::parts(parts, false), algorithm: vec![0, 7, 0xab, 0xff], microseconds }
}

fn tactics() -> Tactics {
    let mut tactics = Tactics::new(machine());
    tactics.insert(key(51, Follows::Norm), tactic(4, 7.5));
    tactics.insert(key(51, Follows::Value), tactic(1, 8.25));
    tactics
}

fn product(key: Key, parts: i32) -> Product {
    let Key { element, eight_bits, from, to, transposed, epilogue, follows, rows, may_tile } = key;
    let (x, y) = (Matrix::default(), Matrix::default());
    let (weight, bias, apart, single) = (0, 0, 0, false);
    Product {
        element,
        eight_bits,
        scales: Scales::default(),
        x,
        weight,
        bias,
        y,
        rows,
        from,
        to,
        transposed,
        epilogue,
        parts,
        apart,
        single,
        follows,
        may_tile,
    }
}

/// Writes `text` to a file and reads it as tactics.
fn read(text: &str) -> Result<Tactics, TacticsError> {
    let dir = tempfile::tempdir().expect("scratch");
    let path = dir.path().join("tactics.json");
    std::fs::write(&path, text).expect("a file");
    Tactics::read(&path, &machine())
}

fn written(tactics: &Tactics) -> String {
    let dir = tempfile::tempdir().expect("scratch");
    let path = dir.path().join("tactics.json");
    tactics.write(&path).expect("writes");
    std::fs::read_to_string(&path).expect("text")
}

#[test]
fn a_file_gives_back_what_was_measured_and_is_always_the_same() {
    let text = written(&tactics());
    assert_eq!(read(&text).expect("reads"), tactics());
    let mut reversed = Tactics::new(machine());
    reversed.insert(key(51, Follows::Value), tactic(1, 8.25));
    reversed.insert(key(51, Follows::Norm), tactic(4, 7.5));
    assert_eq!(written(&reversed), text);
}

#[test]
fn choices_of_another_machine_or_version_are_refused_by_name() {
    let text = written(&tactics());
    for (here, there, named) in [
        ("NVIDIA Thor", "NVIDIA Orin", "device"),
        ("11.0", "8.7", "compute capability"),
        ("580.00", "540.00", "driver"),
        ("130000", "120600", "versions"),
        ("\"format\": 4", "\"format\": 3", "format"),
    ] {
        let found = read(&text.replace(here, there));
        assert!(matches!(&found, Err(TacticsError::Other { what, .. }) if *what == named), "{named}: {found:?}");
    }
}

#[test]
fn damaged_files_are_refused() {
    let text = written(&tactics());
    for (good, bad) in [
        ("0007abff", "0007abf"),
        ("0007abff", "0007abfg"),
        ("\"parts\": 4", "\"parts\": 5"),
        ("\"parts\": 4", "\"parts\": 0"),
        ("7.5", "-7.5"),
        ("7.5", "null"),
        ("\"rows\": 51", "\"rows\": 0"),
        ("\"f16\"", "\"f8\""),
        ("\"tactics\"", "\"choices\""),
        ("}", ""),
    ] {
        let found = read(&text.replace(good, bad));
        assert!(matches!(found, Err(TacticsError::Damaged { .. })), "{bad}: {found:?}");
    }
    assert!(matches!(read(&"00".repeat(10)), Err(TacticsError::Damaged { .. })));
}

#[test]
fn an_unusable_file_is_as_none_but_says_why() {
    let dir = tempfile::tempdir().expect("scratch");
    let path = dir.path().join("tactics.json");
    let (found, why) = Tactics::read_or_new(&path, &machine());
    assert!(found.is_empty() && why.is_none(), "no file is no fault");
    std::fs::write(&path, "{").expect("a file");
    let (found, why) = Tactics::read_or_new(&path, &machine());
    assert!(found.is_empty() && matches!(why, Some(TacticsError::Damaged { .. })));
    let (found, why) = Tactics::read_or_new(dir.path(), &machine());
    assert!(found.is_empty() && matches!(why, Some(TacticsError::Io { .. })), "a folder");
}

#[test]
fn newer_measurements_replace_older_ones_of_the_same_machine() {
    let mut both = tactics();
    let mut newer = Tactics::new(machine());
    newer.insert(key(51, Follows::Norm), tactic(2, 6.0));
    newer.insert(key(41, Follows::Norm), tactic(8, 5.0));
    assert!(both.merge(newer.clone()));
    assert_eq!((both.len(), both.get(&key(51, Follows::Norm))), (3, Some(&tactic(2, 6.0))));
    let mut other = Tactics::new(Machine { driver: "1".to_owned(), ..machine() });
    assert!(!other.merge(newer) && other.is_empty());
}

#[test]
fn a_length_that_was_not_measured_takes_the_nearest() {
    let mut tactics = tactics();
    tactics.insert(key(80, Follows::Norm), tactic(2, 9.0));
    let split = |rows| tactics.split(&key(rows, Follows::Norm)).parts;
    assert_eq!([51, 60, 66, 79, 160].map(split), [4, 4, 2, 2, 2]);
    assert_eq!([25, 161].map(split), [1, 1], "more than twice or less than half");
    assert_eq!(tactics.split(&key(51, Follows::Attention)), Split::WHOLE, "another follower");
    let algorithm = |key, parts| tactics.algorithm(&product(key, parts));
    assert_eq!(algorithm(key(52, Follows::Norm), 4), Some([0, 7, 0xab, 0xff].as_slice()));
    assert_eq!(algorithm(key(52, Follows::Norm), 2), None, "measured for another division");
}

/// Times by a rule; counts what is timed.
struct Fake<F> {
    time: F,
    timed: Cell<usize>,
}

impl<F: Fn(&Key, Split, u8) -> Option<f64>> Measure for Fake<F> {
    type Error = &'static str;

    fn limits(&self) -> Limits {
        Limits { multiprocessors: 132, shared: 227 << 10, clusters: true, warpgroups: true }
    }

    fn algorithms(&mut self, _: &Key, _: Split) -> Result<Vec<Vec<u8>>, Self::Error> {
        Ok(vec![vec![1], vec![2]])
    }

    fn time(&mut self, key: &Key, split: Split, algorithm: &[u8]) -> Result<Option<f64>, Self::Error> {
        self.timed.set(self.timed.get() + 1);
        if key.rows == 13 { Err("lost") } else { Ok((self.time)(key, split, algorithm.first().copied().unwrap_or(0))) }
    }
}

#[test]
fn the_fastest_that_runs_is_kept_and_measured_once() {
    let time = |_: &Key, split: Split, algorithm: u8| match (split.parts, split.single, algorithm) {
        (6, true, 2) => Some(3.0),
        (6, true, _) => Some(f64::NAN),
        (8, ..) => None,
        _ => Some(4.0),
    };
    let mut fake = Fake { time, timed: Cell::new(0) };
    let mut tactics = Tactics::new(machine());
    let keys = [key(51, Follows::Norm), key(51, Follows::Value)];
    assert_eq!(tactics.measure(keys, &mut fake), Ok(vec![]));
    let best = Tactic { split: Split::parts(6, true), algorithm: vec![2], microseconds: 3.0 };
    assert_eq!(tactics.get(&keys[0]), Some(&best));
    let first = Tactic { split: Split::WHOLE, algorithm: vec![1], microseconds: 4.0 };
    assert_eq!(tactics.get(&keys[1]), Some(&first), "of equal ones the first");
    let timed = fake.timed.get();
    assert_eq!(tactics.measure(keys, &mut fake), Ok(vec![]));
    assert_eq!(fake.timed.get(), timed);
    assert_eq!(tactics.measure([key(13, Follows::Value)], &mut fake), Err("lost"));
    assert_eq!(tactics.len(), 2, "what was chosen before stays");
}

#[test]
fn our_own_kernel_is_kept_where_it_is_the_fastest() {
    let time =
        |_: &Key, split: Split, _| Some(if split.tile.is_some_and(|tile| tile.blocks().1 == 2) { 2.0 } else { 4.0 });
    let mut fake = Fake { time, timed: Cell::new(0) };
    let mut tactics = Tactics::new(machine());
    let key = Key { eight_bits: true, ..key(51, Follows::Value) };
    assert_eq!(tactics.measure([key], &mut fake), Ok(vec![]));
    let found = tactics.get(&key).expect("a choice");
    assert_eq!((found.split.tile.map(|tile| tile.blocks().1), found.algorithm.len()), (Some(2), 0));
    assert_eq!(read(&written(&tactics)).expect("reads"), tactics);
    let text = written(&tactics);
    for (good, bad) in [
        ("\"cluster\": 2", "\"cluster\": 9"),
        ("\"channel_warps\": ", "\"channel_warps\": 7"),
        ("\"algorithm\": \"\"", "\"algorithm\": \"00\""),
    ] {
        assert!(text.contains(good), "{good}: {text}");
        assert!(matches!(read(&text.replace(good, bad)), Err(TacticsError::Damaged { .. })), "{bad}");
    }
}

#[test]
fn tiles_occupy_the_device_and_divide_the_channels() {
    let limits = Limits { multiprocessors: 132, shared: 227 << 10, clusters: true, warpgroups: true };
    let of = |key: Key, limits| tiles(&Key { eight_bits: true, ..key }, limits);
    for split in of(key(51, Follows::Norm), limits) {
        let tile = split.tile.expect("a tile");
        let (outputs, cluster) = tile.blocks();
        let blocks = 6144_u32.div_ceil(outputs) * cluster * split.parts;
        assert!((66..=396).contains(&blocks), "{split:?}: {blocks}");
        assert_eq!(1536 % (tile.depth() * split.parts), 0, "{split:?}");
    }
    assert!(of(key(51, Follows::Value), limits).iter().all(|split| split.parts == 1));
    let orin = Limits { clusters: false, warpgroups: false, multiprocessors: 8, shared: 163 << 10 };
    let divided = |split: &Split| split.parts > 1 || split.tile.is_none_or(|tile| tile.blocks().1 > 1);
    let of_orin = of(key(51, Follows::Norm), orin);
    assert!(!of_orin.is_empty() && !of_orin.iter().any(divided), "{of_orin:?}");
    for other in [
        key(65, Follows::Norm),
        Key { element: Element::F32, ..key(51, Follows::Norm) },
        Key { transposed: false, ..key(51, Follows::Norm) },
        Key { to: 6140, ..key(51, Follows::Norm) },
    ] {
        assert!(of(other, limits).is_empty(), "{other:?}");
    }
}

#[test]
fn tiles_of_16_bits_are_hoppers() {
    let limits = Limits { multiprocessors: 132, shared: 227 << 10, clusters: true, warpgroups: true };
    let found = tiles(&key(51, Follows::Norm), limits);
    let whole =
        Split { parts: 1, single: false, tile: Some(Tile::Tensor(TensorTile { outputs: 96, cluster: 2, stages: 8 })) };
    assert!(found.contains(&whole) && found.iter().any(|split| split.parts == 4), "{found:?}");
    for split in &found {
        let tile = split.tile.expect("a tile");
        assert!(!tile.is_of_eight_bits() && 1536 % (tile.depth() * split.parts) == 0, "{split:?}");
        assert_eq!(split.fitting(&key(51, Follows::Norm)), *split);
    }
    let mut kept = Tactics::new(machine());
    kept.insert(key(51, Follows::Norm), Tactic { split: whole, algorithm: Vec::new(), microseconds: 5.0 });
    assert_eq!(read(&written(&kept)).expect("reads"), kept);
    let refused = read(&written(&kept).replace("\"outputs\": 96", "\"outputs\": 95"));
    assert!(matches!(refused, Err(TacticsError::Damaged { .. })), "{refused:?}");
    let blackwell = Limits { warpgroups: false, ..limits };
    assert!(tiles(&key(51, Follows::Norm), blackwell).is_empty());
    kept.forget_without_room(blackwell);
    assert!(kept.is_empty(), "it is measured again");
}

#[test]
fn a_tile_is_one_that_the_device_has_room_for_at_any_number_of_rows() {
    let key = Key { eight_bits: true, rows: 41, ..key(51, Follows::Norm) };
    let orin = Limits { clusters: false, warpgroups: false, multiprocessors: 8, shared: 163 << 10 };
    let (narrow, wide) = (Limits { shared: 99 << 10, ..orin }, Limits { shared: 227 << 10, ..orin });
    let room = |split: &Split, limits| split.tile.is_some_and(|tile| resident(tile, key.from, split.parts, limits) > 0);
    for limits in [orin, narrow, wide] {
        assert!(tiles(&key, limits).iter().all(|split| room(split, limits)));
    }
    let wider: Vec<Split> = tiles(&key, wide).into_iter().filter(|split| !room(split, narrow)).collect();
    assert!(!wider.is_empty(), "some take more than 99 KiB with 64 rows");
    let mut tactics = Tactics::new(machine());
    tactics.insert(key, Tactic { split: wider[0], algorithm: Vec::new(), microseconds: 5.0 });
    tactics.forget_without_room(wide);
    assert_eq!(tactics.len(), 1);
    tactics.forget_without_room(narrow);
    assert!(tactics.is_empty(), "it is measured again");
}

#[test]
fn a_product_that_nothing_runs_is_reported() {
    let mut fake = Fake { time: |_: &Key, _, _| None, timed: Cell::new(0) };
    let mut tactics = Tactics::new(machine());
    let key = key(7, Follows::Value);
    assert_eq!(tactics.measure([key, key], &mut fake), Ok(vec![key]));
    assert!(tactics.is_empty());
}

#[test]
fn divisions_leave_whole_loads_and_only_where_something_adds_them() {
    let parts = |key: Key| splits(&key).iter().map(|split| (split.parts, split.single)).collect::<Vec<_>>();
    assert_eq!(parts(key(51, Follows::Value)), [(1, false)]);
    assert_eq!(parts(key(51, Follows::Norm)).len(), 12);
    assert_eq!(parts(Key { from: 48, ..key(51, Follows::Norm) }).last(), Some(&(6, true)), "8 would leave 6 channels");
    let single = Key { element: Element::F32, from: 16, ..key(51, Follows::Attention) };
    assert_eq!(parts(single), [(1, false), (2, false)]);
}

#[test]
fn choices_of_8_bit_factors_are_their_own() {
    let (half, eight) = (key(51, Follows::Norm), Key { eight_bits: true, ..key(51, Follows::Norm) });
    let mut found = tactics();
    assert_eq!((found.nearest(&half).is_some(), found.nearest(&eight)), (true, None));
    let tile = Tile::Bytes(ByteTile { out_warps: 1, channel_warps: 4, cluster: 2, resident: 1 });
    let split = Split { parts: 3, single: false, tile: Some(tile) };
    found.insert(eight, Tactic { split, algorithm: Vec::new(), microseconds: 3.0 });
    assert_eq!(read(&written(&found)).expect("reads"), found);
    let refused = read(&written(&found).replace("\"eight_bits\": true,", ""));
    assert!(matches!(refused, Err(TacticsError::Damaged { .. })), "a tile of 16-bit factors: {refused:?}");
    // 1536 channels are three parts of a cluster's 512.
    let six = Split { parts: 6, ..split };
    assert_eq!((split.fitting(&eight), six.fitting(&eight)), (split, split));
    assert_eq!(six.fitting(&half), Split::parts(6, false), "by the library");
    assert_eq!(split.fitting(&Key { from: 768, ..eight }).tile, None, "no part of a cluster's channels");
    assert_eq!(splits(&eight), [Split::WHOLE], "the library does not divide them");
    let limits = Limits { multiprocessors: 132, shared: 227 << 10, clusters: true, warpgroups: true };
    let own = tiles(&eight, limits);
    assert!(!own.is_empty() && own.iter().all(|split| split.fitting(&eight) == *split), "{own:?}");
}

#[test]
fn choices_of_weights_in_tiles_are_their_own() {
    let (dense, tiled) = (key(51, Follows::Norm), Key { may_tile: true, ..key(51, Follows::Norm) });
    let mut found = Tactics::new(machine());
    found.insert(dense, tactic(4, 7.5));
    assert_eq!(found.nearest(&tiled), None, "it is measured");
    found.insert(Key { rows: 40, ..tiled }, tactic(2, 6.0));
    assert_eq!(found.nearest(&tiled), Some(&tactic(2, 6.0)));
    assert_eq!(found.nearest(&Key { rows: 41, ..dense }), Some(&tactic(4, 7.5)));
    assert_eq!(read(&written(&found)).expect("reads"), found);
}
