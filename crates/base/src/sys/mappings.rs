//! Memory mappings of this process (`/proc/self/maps`, `smaps`): private memory not backed by a file, and the resident part
//! of a range.

use std::fs;
use std::io;
use std::ops::Range;

const KIB: usize = 1024;

/// Address ranges of private, writable memory not backed by a file, ascending; adjacent ranges are joined.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PrivateMappings(Vec<Range<usize>>);

impl PrivateMappings {
    /// The mappings of this process now.
    ///
    /// # Errors
    /// Errors of reading `/proc/self/maps`.
    pub fn now() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/maps")?))
    }

    fn parse(maps: &str) -> Self {
        let mut all: Vec<Range<usize>> = Vec::new();
        for range in maps.lines().filter_map(anonymous) {
            match all.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => all.push(range),
            }
        }
        Self(all)
    }

    /// Ranges that are not in `before`.
    pub fn since(&self, before: &Self) -> Vec<Range<usize>> {
        let mut new = Vec::new();
        for range in &self.0 {
            let mut from = range.start;
            for old in before.0.iter().filter(|old| old.start < range.end && old.end > range.start) {
                if old.start > from {
                    new.push(from..old.start);
                }
                from = from.max(old.end);
            }
            if from < range.end {
                new.push(from..range.end);
            }
        }
        new
    }

    /// These ranges without `range`.
    pub fn without(&self, range: Range<usize>) -> Self {
        Self(self.since(&Self(vec![range])))
    }

    /// `range`, extended by up to `reach` bytes on either side within its mapping.
    pub fn around(&self, range: &Range<usize>, reach: usize) -> Range<usize> {
        let holding = self.0.iter().find(|one| one.start <= range.start && range.end <= one.end);
        holding.map_or_else(
            || range.clone(),
            |one| one.start.max(range.start.saturating_sub(reach))..one.end.min(range.end.saturating_add(reach)),
        )
    }

    /// Whether all of `range` is private memory.
    pub fn holds(&self, range: &Range<usize>) -> bool {
        self.0.iter().any(|one| one.start <= range.start && range.end <= one.end)
    }
}

/// The addresses of a line of `/proc/self/maps` (`start-end perms offset device inode path`) if it is private, writable and
/// not backed by a file; `None` for the stack.
fn anonymous(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let range = addresses(words.next()?)?;
    let permissions = words.next()?;
    let inode = words.nth(2)?;
    let named = words.next().unwrap_or_default();
    let ours = named.is_empty() || named == "[heap]" || named.starts_with("[anon:");
    (permissions.starts_with("rw") && permissions.ends_with('p') && inode == "0" && ours).then_some(range)
}

/// The first word of a line of `/proc/self/maps`: `start-end`.
pub(super) fn addresses(word: &str) -> Option<Range<usize>> {
    let (start, end) = word.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

/// The resident part of a range, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Resident {
    /// In memory and in the page table: accessed since it was mapped.
    pub touched: u64,
    /// Of these, private copies not backed by a file.
    pub anonymous: u64,
    /// Held in memory by `mlock`.
    pub locked: u64,
}

impl Resident {
    /// The resident bytes of all mappings that overlap `range`.
    ///
    /// # Errors
    /// Errors of reading `/proc/self/smaps`.
    pub fn of(range: &Range<usize>) -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/smaps")?, range))
    }

    fn parse(smaps: &str, range: &Range<usize>) -> Self {
        let mut sum = Self::default();
        let mut inside = false;
        for line in smaps.lines() {
            let (head, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            if let Some(mapping) = addresses(head) {
                inside = mapping.start < range.end && mapping.end > range.start;
                continue;
            }
            let figure = match head {
                "Rss:" => &mut sum.touched,
                "Anonymous:" => &mut sum.anonymous,
                "Locked:" => &mut sum.locked,
                _ => continue,
            };
            let kib: u64 = rest.split_ascii_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_default();
            *figure += if inside { kib * KIB as u64 } else { 0 };
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
1000-3000 rw-p 00000000 00:00 0 
3000-4000 rw-p 00000000 00:00 0  [anon:arena]
4000-5000 r--p 00000000 00:00 0 
6000-7000 rw-s 00000000 00:01 1027 /dev/shm/x
8000-9000 rw-p 00000000 fe:01 77 /lib/x.so
a000-b000 rw-p 00000000 00:00 0  [heap]
c000-d000 rw-p 00000000 00:00 0  [stack]
";

    #[test]
    fn only_private_writable_memory_of_no_file_counts_and_neighbours_are_one() {
        let now = PrivateMappings::parse(MAPS);
        assert_eq!(now, PrivateMappings(vec![0x1000..0x4000, 0xa000..0xb000]));
        assert!(now.holds(&(0x2000..0x3800)));
        assert!(!now.holds(&(0x3000..0x4800)));
        assert_eq!(now.around(&(0x2000..0x3000), 0x800), 0x1800..0x3800);
        assert_eq!(now.around(&(0xa000..0xb000), 0x800), 0xa000..0xb000);
    }

    #[test]
    fn what_is_new_is_cut_out_of_what_was_there() {
        let before = PrivateMappings(vec![0x2000..0x3000, 0xa000..0xb000]);
        let new = PrivateMappings::parse(MAPS).since(&before);
        assert_eq!(new, [0x1000..0x2000, 0x3000..0x4000]);
        assert!(PrivateMappings::parse(MAPS).since(&PrivateMappings::parse(MAPS)).is_empty());
    }

    #[test]
    fn a_touched_block_is_resident_and_shows_up_as_new() {
        let before = PrivateMappings::now().expect("maps");
        let block = vec![7u8; 48 << 20];
        let range = block.as_ptr() as usize..block.as_ptr() as usize + block.len();
        let new = PrivateMappings::now().expect("maps").since(&before);
        assert!(new.iter().any(|new| new.start <= range.start && range.end <= new.end), "{range:x?} in {new:x?}");
        let resident = Resident::of(&range).expect("smaps");
        assert!(resident.anonymous >= 47 << 20 && resident.touched >= resident.anonymous, "{resident:?}");
    }
}
