//! The files of `meta`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use vla_base::sys::fs::replace;

use super::columns::{Column, TableWriter};
use super::statistics::Statistics;
use super::{CHUNK, Layout, WrittenEpisode, feature, place};
use crate::Error;

/// What is written about.
pub(super) struct Contents<'w> {
    pub(super) layout: &'w Layout,
    pub(super) tasks: &'w [String],
    pub(super) episodes: &'w [WrittenEpisode],
    pub(super) rows: usize,
    pub(super) statistics: &'w [Statistics; 2],
}

/// Writes all of them; info.json last.
pub(super) fn write(root: &Path, contents: &Contents<'_>) -> Result<(), Error> {
    let meta = root.join("meta");
    episodes(&meta.join("episodes/chunk-000/file-000.parquet"), contents)?;
    tasks(&meta.join("tasks.parquet"), contents.tasks)?;
    let [state, action] = contents.statistics;
    text(&meta.join("stats.json"), &json!({ "observation.state": state.json(), "action": action.json() }))?;
    text(&meta.join("modality.json"), &modality(contents.layout))?;
    text(&meta.join("info.json"), &info(contents))
}

fn text(path: &Path, value: &Value) -> Result<(), Error> {
    replace(path, format!("{value:#}\n").as_bytes())
        .map_err(|error| Error::Writing { path: path.to_owned(), reason: error.to_string() })
}

fn episodes(path: &Path, contents: &Contents<'_>) -> Result<(), Error> {
    let of = |value: &dyn Fn(usize, &WrittenEpisode) -> usize| -> Vec<i64> {
        contents.episodes.iter().enumerate().map(|(index, episode)| value(index, episode) as i64).collect()
    };
    let tasks = contents
        .episodes
        .iter()
        .map(|episode| episode.tasks.iter().filter_map(|task| contents.tasks.get(*task).cloned()).collect());
    let tasks: Vec<Vec<String>> = tasks.collect();
    let [index, length] = [of(&|index, _| index), of(&|_, episode| episode.length)];
    let [chunk, file] = [of(&|_, episode| place(episode.file).0), of(&|_, episode| place(episode.file).1)];
    let [from, to] = [of(&|_, episode| episode.first), of(&|_, episode| episode.first + episode.length)];
    let zeros = of(&|_, _| 0);
    let columns = [
        Column::integers("episode_index", &index),
        Column::text_lists("tasks", &tasks),
        Column::integers("length", &length),
        Column::integers("data/chunk_index", &chunk),
        Column::integers("data/file_index", &file),
        Column::integers("dataset_from_index", &from),
        Column::integers("dataset_to_index", &to),
        Column::integers("meta/episodes/chunk_index", &zeros),
        Column::integers("meta/episodes/file_index", &zeros),
    ];
    let mut table = TableWriter::create(path, &columns, None)?;
    table.write(&columns)?;
    table.finish()
}

/// The tasks as pandas writes them: their text is the index.
fn tasks(path: &Path, tasks: &[String]) -> Result<(), Error> {
    let numbers: Vec<i64> = (0..tasks.len() as i64).collect();
    let columns = [Column::integers("task_index", &numbers), Column::text("task", tasks)];
    let column = |name: &str, pandas: &str, numpy: &str| json!({ "name": name, "field_name": name, "pandas_type": pandas, "numpy_type": numpy, "metadata": null });
    let pandas = json!({
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "attributes": {},
        "creator": { "library": "vla_trt", "version": env!("CARGO_PKG_VERSION") },
        "pandas_version": "2.0.0",
    });
    let mut table = TableWriter::create(path, &columns, Some(pandas.to_string()))?;
    table.write(&columns)?;
    table.finish()
}

fn modality(layout: &Layout) -> Value {
    let pieces = |keys: &[(String, usize)]| {
        let mut start = 0;
        let pieces = keys.iter().map(|(key, width)| {
            let piece = json!({ "start": start, "end": start + width });
            start += width;
            (key.clone(), piece)
        });
        pieces.collect::<BTreeMap<_, _>>()
    };
    let [state, action] = &layout.keys;
    let video = layout.cameras.iter().map(|(name, ..)| (name.clone(), json!({ "original_key": feature(name) })));
    json!({
        "state": pieces(state),
        "action": pieces(action),
        "video": video.collect::<BTreeMap<_, _>>(),
        "annotation": { "human.task_description": { "original_key": "task_index" } },
    })
}

fn info(contents: &Contents<'_>) -> Value {
    let layout = contents.layout;
    let numbers = |names: &[String]| json!({ "dtype": "float32", "shape": [names.len()], "names": names });
    let one = |dtype: &str| json!({ "dtype": dtype, "shape": [1], "names": null });
    let mut features = BTreeMap::from([
        ("observation.state".to_owned(), numbers(&layout.state)),
        ("action".to_owned(), numbers(&layout.action)),
        ("timestamp".to_owned(), one("float32")),
    ]);
    for name in ["frame_index", "episode_index", "index", "task_index"] {
        features.insert(name.to_owned(), one("int64"));
    }
    for (name, width, height) in &layout.cameras {
        let names = ["height", "width", "channels"];
        features.insert(feature(name), json!({ "dtype": "image", "shape": [height, width, 3], "names": names }));
    }
    // LeRobot takes whole rates.
    let fps = if layout.fps.fract() == 0.0 { json!(layout.fps as u64) } else { json!(layout.fps) };
    json!({
        "codebase_version": "v3.0",
        "robot_type": layout.robot_type,
        "total_episodes": contents.episodes.len(),
        "total_frames": contents.rows,
        "total_tasks": contents.tasks.len(),
        "chunks_size": CHUNK,
        "data_files_size_in_mb": super::FILE_BYTES >> 20,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": { "train": format!("0:{}", contents.episodes.len()) },
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": null,
        "features": features,
    })
}
