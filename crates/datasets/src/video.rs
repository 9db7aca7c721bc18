//! Cameras stored as video, decoded by FFmpeg.
//!
//! A file is read forward: one seek to the first frame that is asked for, then packet after packet. One thread decodes: a run over a data set
//! has as many decoders as cameras, and single-threaded decoders give frames in one order and hold the fewest frames.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Once;

use ffmpeg::codec::decoder;
use ffmpeg::codec::threading;
use ffmpeg::error::EAGAIN;
use ffmpeg::format::context::Input;
use ffmpeg::{Packet, frame, media};
use ffmpeg_next as ffmpeg;

use crate::dataset::LFS;
use crate::{ColorSpace, Episode, Error, Frame};

mod convert;

use convert::Converter;

/// Largest distance of a frame from its timestamp, in s: LeRobot's `tolerance_s`.
const TOLERANCE_S: f64 = 1e-4;
/// The same as a part of the time between frames: GR00T's.
const TOLERANCE: f64 = 0.01;
/// Time base of seeks.
const SEEK_BASE: f64 = 1e6;

/// The video of one camera in one episode.
pub(crate) struct Video {
    path: PathBuf,
    camera: String,
    episode: usize,
    color: ColorSpace,
    /// Time of the episode's first frame in the file, in s.
    from: f64,
    tolerance: f64,
    input: Input,
    decoder: decoder::Video,
    stream: usize,
    /// Seconds of one unit of the stream's timestamps.
    time_base: f64,
    /// The end of the file went to the decoder.
    drained: bool,
    current: Option<Timed>,
    next: Option<Timed>,
    converter: Option<Converter>,
    /// The converted frame, and the time of the frame that it is of.
    rgb: Vec<u8>,
    converted: Option<f64>,
}

struct Timed {
    time: f64,
    frame: frame::Video,
}

impl Video {
    pub(crate) fn open(
        path: PathBuf,
        episode: &Episode,
        camera: &str,
        fps: f64,
        color: ColorSpace,
    ) -> Result<Self, Error> {
        prepare();
        refuse_pointer(&path)?;
        let failed = |doing: &str, error: ffmpeg::Error| Error::Frame {
            path: path.clone(),
            camera: camera.to_owned(),
            episode: episode.index,
            reason: format!("cannot {doing}: {error}; the file is damaged or cut short, or FFmpeg lacks its codec"),
        };
        let input = ffmpeg::format::input(&path).map_err(|error| failed("open the video", error))?;
        let stream = input.streams().best(media::Type::Video);
        let stream = stream.ok_or_else(|| failed("find a video stream", ffmpeg::Error::StreamNotFound))?;
        let (index, time_base) = (stream.index(), f64::from(stream.time_base()));
        let context = ffmpeg::codec::Context::from_parameters(stream.parameters());
        let mut context = context.map_err(|error| failed("read the video's parameters", error))?;
        context.set_threading(threading::Config { kind: threading::Type::None, count: 1, ..Default::default() });
        let mut decoder = context.decoder();
        // A damaged frame is an error and not a picture that is patched.
        decoder.check(decoder::Check::EXPLODE);
        let decoder = decoder.video().map_err(|error| failed("open the decoder", error))?;
        let from = episode.video(camera).from;
        Ok(Self {
            camera: camera.to_owned(),
            episode: episode.index,
            color,
            from,
            tolerance: TOLERANCE_S.max(TOLERANCE / fps),
            input,
            decoder,
            stream: index,
            time_base,
            drained: false,
            current: None,
            next: None,
            converter: None,
            rgb: Vec::new(),
            converted: None,
            path,
        })
    }

    /// The name of the matrix that the video is tagged with; `None`: untagged, or one of BT.601.
    pub(crate) fn other_matrix(&self) -> Option<&'static str> {
        convert::other_matrix(self.decoder.color_space())
    }

    /// The frame that is nearest to a time of the episode, in s.
    pub(crate) fn at(&mut self, timestamp: f64) -> Result<Frame<'_>, Error> {
        let wanted = self.from + timestamp;
        self.advance(wanted)?;
        let Some(nearest) = &self.current else {
            return Err(self.failed(format!("expected a frame at {wanted:.4} s, found none")));
        };
        if (nearest.time - wanted).abs() > self.tolerance {
            let reason = format!(
                "expected a frame at {wanted:.4} s (time {timestamp:.4} s of the episode), found the nearest at {:.4} s; the video \
                 has another rate than the data set, or fewer frames than rows",
                nearest.time
            );
            return Err(self.failed(reason));
        }
        if self.converted != Some(nearest.time) {
            self.convert()?;
        }
        let converter = self.converter.as_ref();
        let (width, height) = converter.map_or((0, 0), Converter::size);
        Ok(Frame { width, height, rgb: &self.rgb })
    }

    /// Decodes until no later frame can be nearer.
    fn advance(&mut self, wanted: f64) -> Result<(), Error> {
        if self.current.is_none() {
            self.seek(wanted)?;
            self.current = self.decode()?;
        }
        while let Some(current) = &self.current
            && current.time < wanted - self.tolerance
        {
            let distance = wanted - current.time;
            if self.next.is_none() {
                self.next = self.decode()?;
            }
            let nearer = self.next.take_if(|next| (next.time - wanted).abs() < distance);
            match nearer {
                Some(next) => self.current = Some(next),
                None => break,
            }
        }
        Ok(())
    }

    /// Goes to the last key frame that is not after the first wanted frame.
    fn seek(&mut self, wanted: f64) -> Result<(), Error> {
        let at = ((wanted - self.tolerance) * SEEK_BASE) as i64;
        if at <= 0 {
            return Ok(());
        }
        self.input
            .seek(at, ..at)
            .map_err(|error| self.failed(format!("cannot find {wanted:.4} s in the video: {error}")))
    }

    /// The next frame of the file; `None` at its end.
    fn decode(&mut self) -> Result<Option<Timed>, Error> {
        loop {
            let mut frame = frame::Video::empty();
            match self.decoder.receive_frame(&mut frame) {
                Ok(()) => {
                    if frame.is_corrupt() {
                        return Err(self.failed("a frame is damaged".to_owned()));
                    }
                    // Frames without a timestamp cannot be asked for.
                    let Some(pts) = frame.pts() else { continue };
                    return Ok(Some(Timed { time: pts as f64 * self.time_base, frame }));
                }
                Err(ffmpeg::Error::Other { errno: EAGAIN }) if !self.drained => self.feed()?,
                Err(ffmpeg::Error::Eof | ffmpeg::Error::Other { errno: EAGAIN }) => return Ok(None),
                Err(error) => return Err(self.failed(format!("cannot decode a frame: {error}"))),
            }
        }
    }

    /// Gives the decoder the next packet, or the end of the file.
    fn feed(&mut self) -> Result<(), Error> {
        let mut packet = Packet::empty();
        let sent = loop {
            match packet.read(&mut self.input) {
                Ok(()) if packet.stream() == self.stream => break self.decoder.send_packet(&packet),
                Ok(()) => {}
                Err(ffmpeg::Error::Eof) => {
                    self.drained = true;
                    break self.decoder.send_eof();
                }
                Err(error) => return Err(self.failed(format!("cannot read a packet: {error}"))),
            }
        };
        sent.map_err(|error| self.failed(format!("cannot decode a packet: {error}; the file is damaged")))
    }

    /// Converts the current frame.
    fn convert(&mut self) -> Result<(), Error> {
        let Some(Timed { time, frame }) = &self.current else { return Ok(()) };
        let fits = self.converter.as_ref().is_some_and(|converter| converter.fits(frame));
        let made = if fits { Ok(()) } else { Converter::new(frame, self.color).map(|new| self.converter = Some(new)) };
        let converted = made.and_then(|()| match &mut self.converter {
            Some(converter) => converter.run(frame, &mut self.rgb),
            None => Ok(()),
        });
        converted.map_err(|error| self.failed(format!("cannot convert a frame to RGB: {error}")))?;
        self.converted = Some(*time);
        Ok(())
    }

    fn failed(&self, reason: String) -> Error {
        Error::Frame { path: self.path.clone(), camera: self.camera.clone(), episode: self.episode, reason }
    }
}

/// Starts FFmpeg once: its messages would go to standard error beside the errors that are returned.
fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Err(error) = ffmpeg::init() {
            tracing::warn!("FFmpeg: {error}");
        }
        ffmpeg::log::set_level(ffmpeg::log::Level::Quiet);
    });
}

fn refuse_pointer(path: &Path) -> Result<(), Error> {
    let mut head = Vec::with_capacity(LFS.len());
    let file = File::open(path).map_err(Error::io(path))?;
    file.take(LFS.len() as u64).read_to_end(&mut head).map_err(Error::io(path))?;
    if head == LFS.as_bytes() {
        return Err(Error::Pointer { path: path.to_owned(), kind: "video" });
    }
    Ok(())
}
