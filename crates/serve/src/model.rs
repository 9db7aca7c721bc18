//! What answers observations: a loaded policy.

use vla_base::time::Stamp;
use vla_policy::trace::ArrayInputs;
use vla_policy::{Policy, Timings, noise};

use crate::observation::{Observation, Start};

/// Answers observations with actions.
pub trait Model {
    /// Predicts the actions of one observation: `[rows, values of every key]`, row by row, keys in order.
    ///
    /// # Errors
    /// [`Failure`], whose text goes to the client; the model answers the next observation unless it is fatal.
    fn infer(&mut self, observation: Observation<'_>, actions: &mut Vec<f32>) -> Result<(), Failure>;

    /// Begins an episode: the sequence of noise starts over, from another seed if one is given.
    fn reset(&mut self, seed: Option<u64>);
}

/// Why there are no actions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// For the client.
    pub reason: String,
    /// No later observation will be answered either.
    pub fatal: bool,
}

/// A loaded policy. Request `n` since the last reset starts from noise that is a function of the seed and `n` alone.
pub struct PolicyModel {
    policy: Policy,
    steps: u32,
    seed: u64,
    /// Observations since the last reset.
    answered: i64,
    noise: Vec<f32>,
    timings: Timings,
}

impl PolicyModel {
    /// A policy that denoises in `steps` steps.
    pub fn new(policy: Policy, steps: u32, seed: u64) -> Self {
        let action = &policy.spec().action;
        let noise = vec![0.0; action.horizon * action.dims];
        Self { policy, steps, seed, answered: 0, noise, timings: Timings::default() }
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}

impl Model for PolicyModel {
    fn infer(&mut self, observation: Observation<'_>, actions: &mut Vec<f32>) -> Result<(), Failure> {
        let Observation { frames, state, instruction, start } = observation;
        let (seed, number) = match start {
            Start::Next => (self.seed, self.answered),
            Start::Seed(seed) => (seed, 0),
            Start::Noise(_) => (self.seed, 0),
        };
        let noise = match start {
            Start::Noise(values) => values,
            Start::Next | Start::Seed(_) => {
                noise::fill(&mut self.noise, seed, std::iter::once(("request", Stamp::from_nanos(number))));
                &self.noise
            }
        };
        let inputs = ArrayInputs { frames, state, instruction, noise };
        let inferred = self.policy.infer_arrays(&inputs, self.steps, actions, &mut self.timings);
        inferred.map_err(|error| Failure { fatal: error.is_sticky(), reason: error.to_string() })?;
        if let Some(value) = actions.iter().find(|value| !value.is_finite()) {
            let reason = format!("expected finite actions, the policy predicted {value}");
            return Err(Failure { reason, fatal: false });
        }
        if start == Start::Next {
            self.answered += 1;
        }
        Ok(())
    }

    fn reset(&mut self, seed: Option<u64>) {
        self.answered = 0;
        self.seed = seed.unwrap_or(self.seed);
    }
}
