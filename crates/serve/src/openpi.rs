//! Physical Intelligence's protocol: `openpi-client` 0.1.2 and openpi's `WebsocketPolicyServer`.
//!
//! The server speaks first: a dictionary of metadata. Then each binary message is an observation, and its reply a dictionary
//! with `actions` `[rows, values]`; an error is a text message. openpi leaves the names of observations to the policy.
//! Here they follow the policy's keys, with the prefixes of openpi's examples.

use std::time::{Duration, Instant};

use crate::array::{Array, Element, write_numpy};
use crate::msgpack::{Value, Writer, parse};
use crate::observation::Gathered;
use crate::protocol::Unanswered;
use crate::{Description, Model, Refusal, Token};

/// Openpi's protocol for one policy.
#[derive(Clone, Debug)]
pub struct Openpi {
    policy: Description,
    token: Option<Token>,
    actions: Vec<f32>,
}

impl Openpi {
    /// With a token, every connection must have it in its header `Authorization: Api-Key TOKEN`.
    pub fn new(policy: Description, token: Option<Token>) -> Self {
        Self { policy, token, actions: Vec::new() }
    }

    pub(crate) fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// The metadata. A connection begins an episode: the protocol has no request for it.
    pub(crate) fn hello(&self, model: &mut dyn Model) -> Vec<u8> {
        model.reset(None);
        let Description { name, cameras, state, actions, rows, .. } = &self.policy;
        let widths = |writer: &mut Writer<'_>, keys: &mut dyn ExactSizeIterator<Item = (&String, usize)>| {
            writer.map(keys.len());
            for (key, width) in keys {
                writer.text(key);
                writer.integer(i64::try_from(width).unwrap_or(i64::MAX));
            }
        };
        let mut reply = Vec::new();
        let mut writer = Writer(&mut reply);
        writer.map(5);
        writer.text("policy");
        writer.text(name);
        writer.text("cameras");
        writer.array(cameras.len());
        cameras.iter().for_each(|camera| writer.text(camera));
        writer.text("state");
        widths(&mut writer, &mut state.iter().map(|(key, width)| (key, *width)));
        writer.text("actions");
        widths(&mut writer, &mut actions.iter().map(|key| (&key.name, key.width)));
        writer.text("action_horizon");
        writer.integer(i64::try_from(*rows).unwrap_or(i64::MAX));
        reply
    }

    pub(crate) fn answer(
        &mut self,
        message: &[u8],
        before: Option<Duration>,
        model: &mut dyn Model,
    ) -> Result<Vec<u8>, Unanswered> {
        let observation = parse(message)?;
        let Value::Map(_) = observation else {
            return Err(Refusal::Message(format!("expected a dictionary, found {observation}")).into());
        };
        let mut gathered = Gathered::new(&self.policy);
        self.gather(&observation, &mut gathered);
        let started = Instant::now();
        model.infer(gathered.finish()?, &mut self.actions)?;
        Ok(self.reply(started.elapsed(), before))
    }

    fn gather<'a>(&self, observation: &Value<'a>, gathered: &mut Gathered<'a>) {
        for camera in &self.policy.cameras {
            self.image(observation, camera, gathered);
        }
        let whole = Named::first(observation, ["observation/state", "state"].map(str::to_owned));
        match whole {
            Some(whole) => self.samples(whole, 0, self.policy.state_width(), gathered),
            None => {
                let mut start = 0;
                for (key, width) in &self.policy.state {
                    match Named::first(observation, [format!("observation/{key}"), format!("state/{key}"), key.clone()])
                    {
                        Some(found) => self.samples(found, start, *width, gathered),
                        None => gathered.problem(
                            key,
                            format_args!(
                                "expected {width} values of the state in 'observation/{key}', or the whole state in \
                             'observation/state' or 'state', found no such key"
                            ),
                        ),
                    }
                    start += width;
                }
            }
        }
        match observation.get("prompt") {
            Some(Value::Text(text)) => gathered.instruction(text),
            Some(other) => gathered.problem("prompt", format_args!("expected a string, found {other}")),
            None => gathered.problem("prompt", "expected the instruction, found no such key"),
        }
        if let Some(noise) = observation.given("noise") {
            let array = Array::from_numpy(noise).unwrap_or_else(|| Err(format!("expected an array, found {noise}")));
            gathered.noise(&self.policy, array);
        }
    }

    fn image<'a>(&self, observation: &Value<'a>, camera: &str, gathered: &mut Gathered<'a>) {
        let places = [format!("observation/{camera}"), format!("images/{camera}"), camera.to_owned()];
        let frames = self.policy.frames;
        let Some(Named { name, value }) = Named::first(observation, places) else {
            return gathered.problem(camera, format_args!(
                "expected uint8 [height, width, 3] in 'observation/{camera}' or 'images/{camera}', found no such key"
            ));
        };
        let array = match Array::from_numpy(value) {
            Some(Ok(array)) => array,
            Some(Err(reason)) => return gathered.problem(&name, reason),
            None => return gathered.problem(&name, format_args!("expected an array, found {value}")),
        };
        match (array.element, array.dims.as_slice()) {
            (Element::Uint8, &[height, width, 3]) if frames == 1 => {
                gathered.view(&name, 1, [height, width], array.data());
            }
            (Element::Uint8, &[times, height, width, 3]) if times == frames && frames > 1 => {
                gathered.view(&name, times, [height, width], array.data());
            }
            (Element::Uint8, &[3, height, width]) if frames == 1 => {
                gathered.planar_view(&name, [height, width], array.data());
            }
            _ => {
                let times = if frames == 1 { String::new() } else { format!("{frames}, ") };
                gathered.problem(&name, format_args!(
                    "expected uint8 [{times}height, width, 3], found {}; openpi_client.image_tools.convert_to_uint8 converts \
                     images", array.shape()
                ));
            }
        }
    }

    /// Sets columns of the state: `[width]`, or `[samples, width]` for a policy that takes several samples.
    fn samples<'a>(&self, found: Named<'_, 'a>, start: usize, width: usize, gathered: &mut Gathered<'a>) {
        let Named { name, value } = found;
        let samples = self.policy.samples;
        let expected = if samples == 1 { format!("[{width}]") } else { format!("[{samples}, {width}]") };
        match (value, Array::from_numpy(value)) {
            (_, Some(Ok(array))) if array.dims == [samples, width] || samples == 1 && array.dims == [width] => {
                gathered.state(&name, &self.policy, start, &array.values());
            }
            // A gripper alone is a number in some clients.
            (Value::Float(number), None) if samples * width == 1 => {
                gathered.state(&name, &self.policy, start, &[*number as f32]);
            }
            (_, Some(Ok(array))) => {
                gathered.problem(&name, format_args!("expected {expected} numbers, found {}", array.shape()));
            }
            (_, Some(Err(reason))) => gathered.problem(&name, reason),
            (other, None) => gathered.problem(&name, format_args!("expected an array {expected}, found {other}")),
        }
    }

    fn reply(&self, inferred: Duration, before: Option<Duration>) -> Vec<u8> {
        let milliseconds = |time: Duration| 1e3 * time.as_secs_f64();
        let mut reply = Vec::with_capacity(4 * self.actions.len() + 256);
        let mut writer = Writer(&mut reply);
        writer.map(2);
        writer.text("actions");
        write_numpy(&mut writer, &[self.policy.rows, self.policy.action_width()], &self.actions);
        writer.text("server_timing");
        writer.map(1 + usize::from(before.is_some()));
        writer.text("infer_ms");
        writer.float(milliseconds(inferred));
        if let Some(before) = before {
            writer.text("prev_total_ms");
            writer.float(milliseconds(before));
        }
        reply
    }
}

/// A value with the name that it was found under.
struct Named<'v, 'a> {
    name: String,
    value: &'v Value<'a>,
}

impl<'v, 'a> Named<'v, 'a> {
    /// The first of these names that the observation has; `a/b` is also `observation["a"]["b"]`.
    fn first<const N: usize>(observation: &'v Value<'a>, names: [String; N]) -> Option<Self> {
        names.into_iter().find_map(|name| {
            let nested = || {
                let (group, key) = name.split_once('/')?;
                observation.get(group)?.get(key)
            };
            let value = observation.get(&name).or_else(nested)?;
            // A group of that name is no value.
            let is_group = matches!(value, Value::Map(_)) && Array::from_numpy(value).is_none();
            (!is_group).then_some(Self { name, value })
        })
    }
}

#[cfg(test)]
mod tests;
