//! rosbag2's SQLite files (.db3): tables `topics` and `messages`.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::unpacked::Unpacked;
use super::{BagMessage, Error, OnDamage, Topic};
use vla_base::time::Stamp;

/// First bytes of every SQLite file.
pub(super) const MAGIC: &[u8] = b"SQLite format 3\0";

/// One .db3 file.
#[derive(Debug)]
pub(super) struct SqliteFile {
    path: PathBuf,
    /// The file is packed as a whole.
    packed: bool,
    on_damage: OnDamage,
    /// The database's own number of each topic.
    ids: Vec<i64>,
    /// Counts are unknown: summing them up would read every page of the file.
    pub topics: Vec<Topic>,
    pub message_count: u64,
    /// Log time of the first and the last message.
    pub bounds: Option<(Stamp, Stamp)>,
}

impl SqliteFile {
    /// Reads topics, number of messages and their bounds.
    pub(super) fn open(path: &Path, unpacked: Option<Unpacked>, on_damage: OnDamage) -> Result<Self, Error> {
        let packed = unpacked.is_some();
        let connection = connect(path, unpacked, on_damage)?;
        check_tables(path, &connection)?;
        let failed = |source| sqlite("read the topics of", path, source);
        let mut file = Self {
            path: path.to_path_buf(),
            packed,
            on_damage,
            ids: Vec::new(),
            topics: Vec::new(),
            message_count: 0,
            bounds: None,
        };
        let mut statement = connection
            .prepare("SELECT id, name, type, serialization_format FROM topics ORDER BY id")
            .map_err(failed)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
        for row in rows.map_err(failed)? {
            let (id, name, type_name, serialization) = row.map_err(failed)?;
            file.ids.push(id);
            file.topics.push(Topic { name, type_name, serialization, count: None });
        }
        if on_damage == OnDamage::Skip && !is_sound(&connection) {
            let order = salvaged(&connection);
            let messages = order.len();
            tracing::warn!(bag = %path.display(), messages, "the database is cut or damaged: messages that can be read are");
            file.message_count = messages as u64;
            file.bounds = order.first().zip(order.last()).map(|(first, last)| (first.0, last.0)).map(stamps);
            return Ok(file);
        }
        let failed = |source| sqlite("count the messages of", path, source);
        file.message_count =
            connection.query_row("SELECT COUNT(*) FROM messages", [], |row| row.get(0)).map_err(failed)?;
        // Two statements: SQLite answers each from one end of the timestamp index.
        let bound = |sql| connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0)).map_err(failed);
        let first = bound("SELECT MIN(timestamp) FROM messages")?;
        let last = bound("SELECT MAX(timestamp) FROM messages")?;
        file.bounds = first.zip(last).map(stamps);
        Ok(file)
    }

    /// Messages by log time, then `id`. `wanted[i]` is the index of this file's topic `i` in
    /// [`BagMessage::topic`]; `None` leaves it out.
    pub(super) fn messages(&self, wanted: &[Option<usize>]) -> Result<SqliteMessages, Error> {
        // A deleted file cannot be opened again, so each pass decompresses its own.
        let unpacked = self.packed.then(|| Unpacked::of(&self.path, self.on_damage)).transpose()?;
        let connection = connect(&self.path, unpacked, self.on_damage)?;
        let topics: BTreeMap<i64, usize> =
            self.ids.iter().zip(wanted).filter_map(|(id, wanted)| Some((*id, (*wanted)?))).collect();
        let damaged = self.on_damage == OnDamage::Skip && !is_sound(&connection);
        let order = match damaged {
            true => salvaged(&connection),
            false => order(&connection).map_err(|source| sqlite("sort the messages of", &self.path, source))?,
        };
        // The CASE keeps SQLite from loading the data of rows that are not wanted.
        let list = topics.keys().map(i64::to_string).collect::<Vec<_>>().join(",");
        let sql = format!("SELECT topic_id, CASE WHEN topic_id IN ({list}) THEN data END FROM messages WHERE id = ?1");
        let known = self.ids.clone();
        let order = order.into_iter();
        Ok(SqliteMessages { path: self.path.clone(), connection, sql, topics, known, damaged, order })
    }
}

fn stamps((first, last): (i64, i64)) -> (Stamp, Stamp) {
    (Stamp::from_nanos(first), Stamp::from_nanos(last))
}

/// Whether every row and the index can be read: the pages of the messages' data are not looked at.
fn is_sound(connection: &Connection) -> bool {
    let count = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).ok();
    let all = count("SELECT COUNT(timestamp) FROM messages NOT INDEXED");
    all.is_some() && order(connection).is_ok_and(|order| Some(order.len() as i64) == all)
}

/// As [`order`], of the rows before the first damage in the table itself: its index may be damaged, too.
fn salvaged(connection: &Connection) -> Vec<(i64, i64)> {
    let sql = "SELECT timestamp, id FROM messages NOT INDEXED ORDER BY id";
    let Ok(mut statement) = connection.prepare(sql) else { return Vec::new() };
    let Ok(rows) = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))) else { return Vec::new() };
    let mut order: Vec<(i64, i64)> = rows.map_while(Result::ok).collect();
    order.sort_unstable();
    order
}

/// Log time and id of every row; with rosbag2's index on the timestamps, no other page of the table is touched.
fn order(connection: &Connection) -> Result<Vec<(i64, i64)>, rusqlite::Error> {
    let mut statement = connection.prepare("SELECT timestamp, id FROM messages ORDER BY timestamp, id")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// See [`SqliteFile::messages`].
pub(super) struct SqliteMessages {
    path: PathBuf,
    connection: Connection,
    sql: String,
    topics: BTreeMap<i64, usize>,
    known: Vec<i64>,
    /// Rows that cannot be read are left out.
    damaged: bool,
    order: std::vec::IntoIter<(i64, i64)>,
}

impl Iterator for SqliteMessages {
    type Item = Result<BagMessage, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (time, id) = self.order.next()?;
            match self.read(id) {
                Ok(Some((topic, data))) => {
                    return Some(Ok(BagMessage { topic, log_time: Stamp::from_nanos(time), data }));
                }
                Ok(None) => {}
                Err(error) if self.damaged => tracing::debug!("left out: {error}"),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl SqliteMessages {
    /// One message; `None` when its topic is not wanted.
    fn read(&self, id: i64) -> Result<Option<(usize, Bytes)>, Error> {
        let failed = |source| sqlite("read a message of", &self.path, source);
        let wrong = |expected: &str, found: String| Error::Damaged {
            path: self.path.clone(),
            place: format!("row {id} of table messages"),
            expected: expected.to_owned(),
            found,
            advice: advice(&self.path).into(),
        };
        let mut statement = self.connection.prepare_cached(&self.sql).map_err(failed)?;
        let mut rows = statement.query([id]).map_err(failed)?;
        let Some(row) = rows.next().map_err(failed)? else {
            return Err(wrong("the row that the index lists", "no such row".to_owned()));
        };
        let topic_id: i64 = row.get(0).map_err(failed)?;
        let Some(topic) = self.topics.get(&topic_id).copied() else {
            if self.known.contains(&topic_id) {
                return Ok(None);
            }
            return Err(wrong("a topic_id of table topics", format!("topic_id {topic_id}")));
        };
        match row.get_ref(1).map_err(failed)? {
            ValueRef::Blob(data) => Ok(Some((topic, Bytes::copy_from_slice(data)))),
            other => Err(wrong("data as a blob", format!("{}", other.data_type()))),
        }
    }
}

/// Opens the file, or what it was decompressed to.
fn connect(path: &Path, unpacked: Option<Unpacked>, on_damage: OnDamage) -> Result<Connection, Error> {
    match unpacked {
        Some(unpacked) => unpacked.with_name(|name| open_file(name, on_damage)),
        None => open_file(path, on_damage),
    }
}

/// Opens read-only and leaves nothing beside the bag. `immutable` spares the lock and log files, also in a folder
/// that may not be written; only a file that was not closed has to be opened with them.
fn open_file(path: &Path, on_damage: OnDamage) -> Result<Connection, Error> {
    if on_damage == OnDamage::Refuse {
        check_length(path)?;
    }
    let left_over = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        std::fs::metadata(name).is_ok_and(|attributes| attributes.len() > 0)
    };
    let immutable = if left_over("-wal") || left_over("-journal") { "" } else { "&immutable=1" };
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => uri.push(char::from(*byte)),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?mode=ro");
    uri.push_str(immutable);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags).map_err(|source| sqlite("open", path, source))?;
    // The file may come from anywhere: nothing in its schema may call functions with side effects.
    let settings = "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;";
    connection.execute_batch(settings).map_err(|source| sqlite("open", path, source))?;
    if on_damage == OnDamage::Skip {
        // SQLite then opens a file with fewer pages than its header says; nothing is written.
        let lenient = connection.execute_batch("PRAGMA writable_schema = ON;");
        lenient.map_err(|source| sqlite("open", path, source))?;
    }
    Ok(connection)
}

/// Compares the size with the header's number of pages, to distinguish a truncated file from a damaged one.
fn check_length(path: &Path) -> Result<(), Error> {
    let io = |source| Error::Io { doing: "read", path: path.to_path_buf(), source };
    let available = std::fs::metadata(path).map_err(io)?.len();
    let mut header = Vec::with_capacity(100);
    let file = std::fs::File::open(path).map_err(io)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, 100), &mut header).map_err(io)?;
    let word = |at: usize| header.get(at..at + 4)?.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
    let page = header.get(16..18).and_then(|bytes| bytes.first_chunk::<2>()).map(|bytes| u16::from_be_bytes(*bytes));
    let (Some(page), Some(pages), Some(changes), Some(valid_for)) = (page, word(28), word(24), word(92)) else {
        let (path, advice) = (path.to_path_buf(), advice(path));
        return Err(Error::Truncated { path, what: "database header", offset: 0, needed: 100, available, advice });
    };
    // SQLite's rule for whether the number of pages is valid; a page size of 1 means 65536.
    let needed = u64::from(if page == 1 { 65536 } else { u32::from(page) }) * u64::from(pages);
    if changes == valid_for && needed > available {
        let (path, advice) = (path.to_path_buf(), advice(path));
        return Err(Error::Truncated { path, what: "database", offset: 0, needed, available, advice });
    }
    Ok(())
}

/// `topics` and `messages` must be plain tables: a view could be an endless query.
fn check_tables(path: &Path, connection: &Connection) -> Result<(), Error> {
    for table in ["topics", "messages"] {
        let sql = "SELECT 1 FROM sqlite_master WHERE name = ?1 AND type = 'table' AND rootpage > 0";
        let there = connection.query_row(sql, [table], |_| Ok(())).optional();
        if there.map_err(|source| sqlite("read the schema of", path, source))?.is_none() {
            return Err(Error::NotABag {
                path: path.to_path_buf(),
                expected: "a rosbag2 database with the tables topics and messages",
                found: format!("an SQLite database without a table '{table}'"),
                advice: "check which file the recorder wrote".to_owned(),
            });
        }
    }
    Ok(())
}

fn advice(path: &Path) -> String {
    let name = path.display();
    format!(
        "copy the bag again, read what is left with --recover, or save it: `sqlite3 {name} .recover | sqlite3 recovered.db3`"
    )
}

fn sqlite(doing: &'static str, path: &Path, source: rusqlite::Error) -> Error {
    Error::Sqlite { doing, path: path.to_path_buf(), source: Box::new(source), advice: advice(path) }
}
