//! NVIDIA's protocol: `PolicyServer` of Isaac GR00T N1.6 (`gr00t/policy/server_client.py`).
//!
//! A request is `{"endpoint": name, "data": {...}, "api_token": token}`, a reply the endpoint's result or `{"error": text}`.
//! Observations come nested (`{"video": {...}, "state": {...}, "language": {...}}`, as `Gr00tPolicy` takes them) or flat
//! (`{"video.front": ..., "state.arm": ...}`, as the vendor's simulators send them); the actions leave in the same form.

use crate::array::{Array, Element, write_npy};
use crate::msgpack::{Value, Writer, parse};
use crate::observation::Gathered;
use crate::protocol::Unanswered;
use crate::{ActionKey, Description, Model, Refusal, Token};

const ENDPOINTS: &str = "ping, get_action, get_modality_config, reset";
/// Key of the instruction in older simulators of the vendor, where the policy's key is `task`.
const OLD_TASK: &str = "annotation.human.coarse_action";

/// NVIDIA's protocol for one policy.
#[derive(Clone, Debug)]
pub struct Gr00t {
    policy: Description,
    token: Option<Token>,
    actions: Vec<f32>,
}

impl Gr00t {
    /// With a token, every request must have it as its `api_token`.
    pub fn new(policy: Description, token: Option<Token>) -> Self {
        Self { policy, token, actions: Vec::new() }
    }

    /// An error as the vendor's client expects it.
    pub(crate) fn error(reason: &str) -> Vec<u8> {
        let mut reply = Vec::new();
        let mut writer = Writer(&mut reply);
        writer.map(1);
        writer.text("error");
        writer.text(reason);
        reply
    }

    pub(crate) fn answer(&mut self, message: &[u8], model: &mut dyn Model) -> Result<Vec<u8>, Unanswered> {
        let request = parse(message)?;
        let Value::Map(_) = request else {
            return Err(Refusal::Message(format!("expected a dictionary with an endpoint, found {request}")).into());
        };
        if let Some(token) = &self.token
            && !request.get("api_token").and_then(Value::text).is_some_and(|given| token.is(given))
        {
            return Err(Refusal::Unauthorized.into());
        }
        let data = request.given("data").unwrap_or(&Value::Nil);
        let endpoint = match request.get("endpoint") {
            None => "get_action",
            Some(name) => name.text().unwrap_or("(no text)"),
        };
        match endpoint {
            "get_action" => self.get_action(data, model),
            "ping" => Ok(ping()),
            "get_modality_config" => Ok(self.modality_config()),
            "reset" => {
                model.reset(options_seed(data)?);
                Ok(vec![0x80])
            }
            "kill" => Err(Refusal::Kill.into()),
            other => Err(Refusal::Endpoint { found: other.chars().take(60).collect(), known: ENDPOINTS }.into()),
        }
    }

    fn get_action(&mut self, data: &Value<'_>, model: &mut dyn Model) -> Result<Vec<u8>, Unanswered> {
        let Some(observation @ Value::Map(_)) = data.get("observation") else {
            let reason = "data.observation: expected a dictionary, found none".to_owned();
            return Err(Refusal::Observation(vec![reason]).into());
        };
        let form = Form::of(observation);
        let mut gathered = Gathered::new(&self.policy);
        self.gather(observation, form, &mut gathered);
        if let Some(seed) = options_seed(data)? {
            gathered.seed(seed);
        }
        if let Some(noise) = data.get("options").and_then(|options| options.given("noise")) {
            let array = Array::from_npy(noise).unwrap_or_else(|| Err(format!("expected an array, found {noise}")));
            gathered.noise(&self.policy, array);
        }
        model.infer(gathered.finish()?, &mut self.actions)?;
        Ok(self.reply(form))
    }

    fn gather<'a>(&self, observation: &Value<'a>, form: Form, gathered: &mut Gathered<'a>) {
        let Description { cameras, frames, state, samples, .. } = &self.policy;
        for camera in cameras {
            let expected = Expected { element: Element::Uint8, sides: [Some(*frames), None, None, Some(3)] };
            let (name, value) = form.find(observation, "video", camera);
            if let Some(array) = array(gathered, &name, value, &expected)
                && let &[_, times, height, width, _] = array.dims.as_slice()
            {
                gathered.view(&name, times, [height, width], array.data());
            }
        }
        let mut start = 0;
        for (key, width) in state {
            let expected = Expected { element: Element::Float32, sides: [Some(*samples), Some(*width)] };
            let (name, value) = form.find(observation, "state", key);
            if let Some(array) = array(gathered, &name, value, &expected) {
                gathered.state(&name, &self.policy, start, &array.values());
            }
            start += width;
        }
        let (name, value) = form.instruction(observation, &self.policy.language);
        match value.ok_or_else(|| "found no such key".to_owned()).and_then(sentence) {
            Ok(text) => gathered.instruction(text),
            Err(found) => gathered.problem(&name, format_args!("expected a batch of one instruction, {found}")),
        }
    }

    /// `(actions, info)`; the vendor's info is empty.
    fn reply(&self, form: Form) -> Vec<u8> {
        let mut reply = Vec::with_capacity(8 * self.actions.len() + 4096);
        let mut writer = Writer(&mut reply);
        writer.array(2);
        writer.map(self.policy.actions.len());
        for (key, values) in self.policy.by_key(&self.actions) {
            let ActionKey { name, width, matrix } = key;
            match form {
                Form::Nested => writer.text(name),
                Form::Flat => writer.text(&format!("action.{name}")),
            }
            let rows = self.policy.rows;
            if *matrix {
                write_npy(&mut writer, &[1, rows, 4, 4], values);
            } else {
                write_npy(&mut writer, &[1, rows, *width], values);
            }
        }
        writer.map(0);
        reply
    }

    /// Each modality as the vendor's class, with its fields as JSON.
    fn modality_config(&self) -> Vec<u8> {
        let mut reply = Vec::new();
        let mut writer = Writer(&mut reply);
        writer.map(self.policy.modalities.len());
        for (modality, config) in &self.policy.modalities {
            writer.text(modality);
            writer.map(2);
            writer.text("__ModalityConfig_class__");
            writer.bool(true);
            writer.text("as_json");
            writer.json(config);
        }
        reply
    }
}

fn ping() -> Vec<u8> {
    let mut reply = Vec::new();
    let mut writer = Writer(&mut reply);
    writer.map(2);
    writer.text("status");
    writer.text("ok");
    writer.text("message");
    writer.text("Server is running");
    reply
}

/// `seed` of a request's options.
fn options_seed(data: &Value<'_>) -> Result<Option<u64>, Refusal> {
    match data.get("options").and_then(|options| options.given("seed")) {
        None => Ok(None),
        Some(Value::Integer(seed)) if *seed >= 0 => Ok(Some(seed.unsigned_abs())),
        Some(other) => {
            Err(Refusal::Observation(vec![format!("options.seed: expected a whole number from 0, found {other}")]))
        }
    }
}

/// How a client names its observations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// `observation["video"]["front"]`
    Nested,
    /// `observation["video.front"]`
    Flat,
}

impl Form {
    fn of(observation: &Value<'_>) -> Self {
        let flat = |key: &str| ["video.", "state."].iter().any(|modality| key.starts_with(modality));
        if observation.keys().any(flat) { Self::Flat } else { Self::Nested }
    }

    /// The value of a key, and its name for an error.
    fn find<'v, 'a>(self, observation: &'v Value<'a>, modality: &str, key: &str) -> (String, Option<&'v Value<'a>>) {
        let flat = format!("{modality}.{key}");
        let value = match self {
            Self::Nested => observation.get(modality).and_then(|values| values.get(key)),
            Self::Flat => observation.get(&flat),
        };
        (flat, value)
    }

    fn instruction<'v, 'a>(self, observation: &'v Value<'a>, key: &str) -> (String, Option<&'v Value<'a>>) {
        match self {
            Self::Nested => self.find(observation, "language", key),
            Self::Flat => {
                let old = observation.get(OLD_TASK).filter(|_| key == "task");
                (key.to_owned(), old.or_else(|| observation.get(key)))
            }
        }
    }
}

/// Element type and sides of an array after its batch; `None`: any side from 1.
struct Expected<const N: usize> {
    element: Element,
    sides: [Option<usize>; N],
}

impl<const N: usize> Expected<N> {
    fn fits(&self, dims: &[usize]) -> bool {
        let side = |(expected, found): (&Option<usize>, &usize)| match expected {
            Some(expected) => expected == found,
            None => *found > 0,
        };
        dims.len() == N && self.sides.iter().zip(dims).all(side)
    }
}

impl<const N: usize> std::fmt::Display for Expected<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [1", self.element.name())?;
        for side in &self.sides {
            match side {
                Some(side) => write!(f, ", {side}")?,
                None => f.write_str(", any")?,
            }
        }
        f.write_str("]")
    }
}

/// The array of a key; `None` after adding a problem.
fn array<'a, const N: usize>(
    gathered: &mut Gathered<'a>,
    name: &str,
    value: Option<&Value<'a>>,
    expected: &Expected<N>,
) -> Option<Array<'a>> {
    let problem = match value.map(|value| (value, Array::from_npy(value))) {
        None => format!("expected {expected}, found no such key"),
        Some((value, None)) => format!("expected {expected}, found {value}"),
        Some((_, Some(Err(reason)))) => reason,
        Some((_, Some(Ok(array)))) => match array.dims.as_slice() {
            [1, dims @ ..] if array.element == expected.element && expected.fits(dims) => return Some(array),
            [batch, dims @ ..] if *batch != 1 && expected.fits(dims) => format!(
                "expected a batch of 1, found {batch}: this server answers one observation at a time (the vendor's simulators: \
                 --n-envs 1)"
            ),
            _ => format!("expected {expected}, found {}", array.shape()),
        },
    };
    gathered.problem(name, problem);
    None
}

/// The one instruction of a batch of one, in up to two lists: batch and time.
fn sentence<'a>(value: &Value<'a>) -> Result<&'a str, String> {
    let mut value = value;
    for _ in 0..2 {
        match value {
            Value::Array(values) => match values.as_slice() {
                [inner] => value = inner,
                _ => return Err(format!("found a list of {}", values.len())),
            },
            _ => break,
        }
    }
    value.text().ok_or_else(|| format!("found {value}"))
}

#[cfg(test)]
mod tests;
