//! Encodes what it is told to and says how long that took: our half of `benches/reference_processor.py`, which writes the
//! inputs, starts this, and has both sides take turns.
//!
//! Reads lines `CASE COUNT` and answers each with the CRC-32 of the results for every picture and COUNT times in nanoseconds.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use crc32fast::Hasher;
use vla_base::sys::simd::Simd;
use vla_messages::{PixelFormat, Pixels};
use vla_policy::encode::EvalTransform;
use vla_policy::encode::prompt::PromptEncoder;
use vla_policy::encode::resize::{AreaResize, FilterResize, Packed, Rows, Size, Window};
use vla_policy::encode::state::StateEncoder;
use vla_policy::processor::Processor;

/// Does the work once, for the pictures of this run; with a hasher, adds the result to it.
type Work = Box<dyn FnMut(usize, Option<&mut Hasher>) -> anyhow::Result<()>>;

/// Pictures of one file, which runs take in turns. Resampling has one.
const PICTURES: usize = 4;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [inputs, checkpoint, tokenizer, embodiment, path] = args.as_slice() else {
        bail!("usage: encode_beside INPUTS CHECKPOINT TOKENIZER EMBODIMENT widest|portable");
    };
    let simd = if path == "portable" { Simd::PORTABLE } else { Simd::widest() };
    let (config, statistics) = ("processor_config.json", "statistics.json");
    let checkpoint = Path::new(checkpoint);
    let processor = Processor::load(&checkpoint.join(config), &checkpoint.join(statistics), embodiment)?;
    let setup = Setup { inputs: inputs.into(), tokenizer: tokenizer.into(), processor, simd };
    let mut cases: HashMap<String, Work> = HashMap::new();
    let mut answers = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (name, count) = line.split_once(' ').with_context(|| format!("expected CASE COUNT, found {line:?}"))?;
        if !cases.contains_key(name) {
            cases.insert(name.to_owned(), setup.case(name).with_context(|| name.to_owned())?);
        }
        let work = cases.get_mut(name).context("made above")?;
        let mut sum = Hasher::new();
        let resampling = name.starts_with("area") || name.starts_with("bicubic");
        for run in 0..if resampling { 1 } else { PICTURES } {
            work(run, Some(&mut sum))?;
        }
        write!(answers, "{}", sum.finalize())?;
        for run in 0..count.parse::<usize>()? {
            let start = Instant::now();
            work(run, None)?;
            write!(answers, " {}", start.elapsed().as_nanos())?;
        }
        writeln!(answers)?;
        answers.flush()?;
    }
    Ok(())
}

struct Setup {
    inputs: PathBuf,
    tokenizer: PathBuf,
    processor: Processor,
    simd: Simd,
}

impl Setup {
    fn case(&self, name: &str) -> anyhow::Result<Work> {
        match name.split_once('-') {
            Some(("area", sizes)) => {
                let (input, output) = two_sizes(sizes)?;
                let data = self.picture(input)?;
                let plan = AreaResize::plan(input, output, Window::full(output)).context("no recipe")?;
                let mut plan = plan.with_simd(self.simd);
                Ok(Box::new(move |_, sum| drain(plan.over(Packed { data: &data, width: input.width }), output, sum)))
            }
            Some(("bicubic", sizes)) => {
                let (input, output) = two_sizes(sizes)?;
                let data = self.picture(input)?;
                let mut plan = FilterResize::plan(input, output, self.processor.image.smart_resize.filter)
                    .context("no recipe")?
                    .with_simd(self.simd);
                Ok(Box::new(move |_, sum| drain(plan.over(Packed { data: &data, width: input.width }), output, sum)))
            }
            Some(("transform", input)) => self.views(size(input)?, 1),
            Some(("encode", case)) => {
                let (cameras, prompt) = case.split_once('-').context("expected encode-CAMERAS-PROMPT")?;
                self.observation(cameras.parse()?, prompt == "kept")
            }
            _ => bail!("unknown case"),
        }
    }

    /// Frames of `input` to `[views, 3, H, W]`.
    fn views(&self, input: Size, views: usize) -> anyhow::Result<Work> {
        let data = self.picture(input)?;
        let mut transform = EvalTransform::new(&self.processor.image).with_simd(self.simd);
        let output = transform.prepare(input.width, input.height)?;
        let view = 3 * output.width * output.height;
        let mut pixels = vec![0.0f32; views * view];
        let length = 3 * input.width * input.height;
        Ok(Box::new(move |run, sum| {
            for (number, view) in (run * views..).zip(pixels.chunks_exact_mut(view)) {
                let data = &data[number % PICTURES * length..][..length];
                let frame = Pixels::new(PixelFormat::Rgb8, input.width, input.height, 3 * input.width, data)?;
                transform.apply(black_box(&frame), view)?;
            }
            black_box(&pixels);
            if let Some(sum) = sum {
                sum.update(bytemuck::cast_slice(&pixels));
            }
            Ok(())
        }))
    }

    /// Cameras, the state and the prompt. One that is `kept` is that of the cycle before, as in the node.
    fn observation(&self, cameras: usize, kept: bool) -> anyhow::Result<Work> {
        let input = size("640x480")?;
        let mut views = self.views(input, cameras)?;
        let image = &self.processor.image;
        let size = EvalTransform::new(image).output_size(input.width, input.height)?;
        let tokens = vec![image.smart_resize.image_tokens(size); cameras];
        let mut prompts =
            PromptEncoder::load(&self.tokenizer, &self.inputs.join("prompt.json"), self.processor.text_rules())?;
        let instruction = fs::read_to_string(self.inputs.join("instruction.txt"))?;
        let mut prompt = prompts.encode(&instruction, &tokens)?;
        let raw = fs::read(self.inputs.join("state.f32"))?;
        let raw: Vec<f32> = raw.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        let mut states = StateEncoder::new(&self.processor)?;
        let mut state = vec![0.0f32; self.processor.max_state_dim];
        Ok(Box::new(move |run, mut sum| {
            views(run, sum.as_deref_mut())?;
            states.encode(black_box(&raw), &mut state)?;
            if !kept {
                prompt = prompts.encode(black_box(&instruction), &tokens)?;
            }
            black_box((&state, &prompt));
            if let Some(sum) = sum {
                sum.update(bytemuck::cast_slice(&state));
                sum.update(bytemuck::cast_slice(&prompt.ids));
            }
            Ok(())
        }))
    }

    fn picture(&self, size: Size) -> anyhow::Result<Vec<u8>> {
        let path = self.inputs.join(format!("{}x{}.rgb", size.width, size.height));
        fs::read(&path).with_context(|| path.display().to_string())
    }
}

fn drain(mut rows: impl Rows, size: Size, mut sum: Option<&mut Hasher>) -> anyhow::Result<()> {
    for y in 0..size.height {
        let row = black_box(rows.row(y));
        if let Some(sum) = &mut sum {
            sum.update(row);
        }
    }
    Ok(())
}

fn size(text: &str) -> anyhow::Result<Size> {
    let (width, height) = text.split_once('x').with_context(|| format!("expected WxH, found {text:?}"))?;
    Ok(Size { width: width.parse()?, height: height.parse()? })
}

fn two_sizes(text: &str) -> anyhow::Result<(Size, Size)> {
    let (input, output) = text.split_once('-').with_context(|| format!("expected WxH-WxH, found {text:?}"))?;
    Ok((size(input)?, size(output)?))
}
