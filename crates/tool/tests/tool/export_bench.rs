//! The demo checkpoint in a scratch folder and its export, for the tests of `vla-trt export`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use vla_export::bundle;
use vla_export::bundle::{Camera, Request};
use vla_export::demo;
use vla_export::synthetic_checkpoint;
use vla_export::synthetic_checkpoint::{Size, TOKENIZER};
use vla_export::{Family, RopeFrequencies};

/// The demo checkpoint, and the request that exports it.
pub(crate) struct Bench {
    pub scratch: tempfile::TempDir,
    pub request: Request,
}

impl Bench {
    /// N1.6's, in shards of at most `most` bytes.
    pub(crate) fn new(most: u64) -> Self {
        Self::of(&vla_export::family::N1D6, most)
    }

    /// A family's, in shards of at most `most` bytes.
    pub(crate) fn of(family: &'static Family, most: u64) -> Self {
        let scratch = tempfile::tempdir().expect("scratch");
        let dir = scratch.path().join("checkpoint");
        fs::create_dir(&dir).expect("folder");
        synthetic_checkpoint::fill_folder(family, Size::Demo, 7, &dir, most, &mut |_| {}).expect("checkpoint");
        let request = request(&dir, &dir.join(TOKENIZER), demo::EMBODIMENT.0, &demo::CAMERAS);
        Self { scratch, request }
    }

    pub(crate) fn checkpoint(&self, file: &str) -> PathBuf {
        self.scratch.path().join("checkpoint").join(file)
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.scratch.path().join("policy")
    }

    /// Replaces text in a file of the checkpoint.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.checkpoint(file);
        let text = fs::read_to_string(&path).expect("text");
        assert!(text.contains(from), "{file} has {from}");
        fs::write(path, text.replace(from, to)).expect("write");
    }

    pub(crate) fn export(&self) -> Result<bundle::Summary, vla_export::Error> {
        bundle::write(&self.request, &self.out(), &mut |_| {})
    }

    /// The message of a refused export; nothing is left of it.
    pub(crate) fn refusal(&self) -> String {
        self.refusal_beside(&[])
    }

    /// The same where earlier exports left these folders.
    pub(crate) fn refusal_beside(&self, folders: &[&str]) -> String {
        let error = self.export().expect_err("refused").to_string();
        let left: BTreeSet<PathBuf> =
            fs::read_dir(self.scratch.path()).expect("folder").map(|e| e.expect("entry").path()).collect();
        let expected = folders.iter().chain([&"checkpoint"]).map(|name| self.scratch.path().join(name));
        assert_eq!(left, expected.collect(), "nothing is left");
        error
    }
}

/// The demo's export request with another tokenizer, embodiment and cameras, and small settings.
pub(crate) fn request(checkpoint: &Path, tokenizer: &Path, embodiment: &str, cameras: &[&str]) -> Request {
    let camera = |name: &&str| Camera { name: (*name).to_owned(), width: 640, height: 480 };
    Request {
        tokenizer: tokenizer.to_path_buf(),
        embodiment: embodiment.to_owned(),
        cameras: cameras.iter().map(camera).collect(),
        blank_views: Vec::new(),
        name: "test".to_owned(),
        about: Some("Test.".to_owned()),
        steps: vec![1, 4],
        max_text: 256,
        usual_text: None,
        precision: None,
        rope: RopeFrequencies::Exact,
        ..demo::bundle::request(&vla_export::family::N1D6, checkpoint)
    }
}

/// A message has all of these words.
pub(crate) fn says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}
