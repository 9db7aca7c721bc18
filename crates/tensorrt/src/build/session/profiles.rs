//! Optimisation profiles of a build, and the profile of its calibration batches.

use std::collections::BTreeMap;

use super::{Session, c_name};
use crate::Tensor;
use crate::build::options::BuildOptions;
use crate::result::Error;
use crate::tensor::range_of;
use vla_base::tensor::{Dim, display_dims};
use vla_engines::profile::Profile;

impl Session<'_> {
    pub(in crate::build) fn profiles(
        &mut self,
        options: &BuildOptions,
        inputs: &[Tensor],
        calibrated: bool,
    ) -> Result<(), Error> {
        check_profiles(inputs, &options.profiles)?;
        if let Some(shapes) = options.calibration_shapes.as_ref().filter(|_| calibrated) {
            check_profiles(inputs, &[fixed(shapes)])?;
        }
        let mut indices = Vec::new();
        for profile in &options.profiles {
            let index = self.profile(profile)?;
            // SAFETY: a live build.
            self.call(|api, build| unsafe { (api.build_profile_commit)(build, index) })?;
            indices.push(index);
        }
        let calibration = match &options.calibration_shapes {
            _ if !calibrated => None,
            Some(shapes) => Some(self.profile(&fixed(shapes))?),
            None => indices.first().copied(),
        };
        if let Some(index) = calibration {
            // SAFETY: a live build.
            self.call(|api, build| unsafe { (api.build_profile_calibrates)(build, index) })?;
        }
        Ok(())
    }

    /// Creates a profile, which becomes part of the engine when it is committed.
    fn profile(&mut self, profile: &BTreeMap<String, Profile>) -> Result<i32, Error> {
        let mut index = 0;
        // SAFETY: a live build, and a place to write a number to.
        self.call(|api, build| unsafe { (api.build_profile_add)(build, &raw mut index) })?;
        for (name, shapes) in profile {
            let (name, range) = (c_name(name)?, range_of(shapes)?);
            // SAFETY: a live build, a NUL-terminated name and a live range.
            self.call(|api, build| unsafe { (api.build_profile_set)(build, index, name.as_ptr(), &raw const range) })?;
        }
        Ok(index)
    }
}

/// A profile with one shape per input.
fn fixed(shapes: &BTreeMap<String, Vec<usize>>) -> BTreeMap<String, Profile> {
    let of = |dims: &Vec<usize>| Profile { min: dims.clone(), opt: dims.clone(), max: dims.clone() };
    shapes.iter().map(|(name, dims)| (name.clone(), of(dims))).collect()
}

/// Checks that every profile names inputs only, includes all dynamic ones, and fits their dimensions.
fn check_profiles(inputs: &[Tensor], profiles: &[BTreeMap<String, Profile>]) -> Result<(), Error> {
    let is_dynamic =
        |tensor: &Tensor| tensor.is_shape || tensor.spec.dims.iter().any(|dim| matches!(dim, Dim::Symbol(_)));
    let mut problems = Vec::new();
    if profiles.is_empty() {
        for input in inputs.iter().filter(|input| is_dynamic(input)) {
            problems.push(format!("input '{}' has dynamic dimensions and needs a profile", input.spec));
        }
    }
    for (number, profile) in profiles.iter().enumerate() {
        for name in profile.keys().filter(|name| !inputs.iter().any(|input| input.spec.name == **name)) {
            let known: Vec<_> = inputs.iter().map(|input| input.spec.name.as_str()).collect();
            problems.push(format!("profile {number}: no input '{name}'; the inputs are {}", known.join(", ")));
        }
        for input in inputs {
            match profile.get(&input.spec.name) {
                Some(shapes) => problems.extend(misfit(number, input, shapes)),
                None if is_dynamic(input) => {
                    problems.push(format!("profile {number}: dynamic input '{}' is missing", input.spec));
                }
                None => {}
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Argument(problems.join("; "))) }
}

fn misfit(number: usize, input: &Tensor, shapes: &Profile) -> Option<String> {
    let dims = &input.spec.dims;
    // The profile of a shape input contains values; its dimension is their number.
    let fits = |shape: &[usize]| {
        input.is_shape
            || shape.len() == dims.len()
                && shape.iter().zip(dims).all(|(n, dim)| !matches!(dim, Dim::Fixed(fixed) if fixed != n))
    };
    let ordered = |a: &[usize], b: &[usize]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a <= b);
    let fine = fits(&shapes.opt) && ordered(&shapes.min, &shapes.opt) && ordered(&shapes.opt, &shapes.max);
    (!fine || !fits(&shapes.min) || !fits(&shapes.max)).then(|| {
        format!(
            "profile {number}: input '{}' is {}, its range is {} to {} to {}; expected min <= opt <= max, with the \
             fixed dimensions as they are",
            input.spec.name,
            display_dims(dims),
            display_dims(&shapes.min),
            display_dims(&shapes.opt),
            display_dims(&shapes.max)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vla_base::tensor::{DType, TensorSpec};

    fn input(name: &str, dims: &[Dim]) -> Tensor {
        let spec = TensorSpec { name: name.to_owned(), dtype: DType::F32, dims: dims.to_vec() };
        Tensor { spec, profile: None, on_host: false, is_shape: false }
    }

    fn range(min: &[usize], opt: &[usize], max: &[usize]) -> Profile {
        Profile { min: min.to_vec(), opt: opt.to_vec(), max: max.to_vec() }
    }

    #[test]
    fn profiles_are_checked_against_the_network_and_every_problem_is_reported() {
        let rows = input("rows", &[Dim::Symbol("?".to_owned()), Dim::Fixed(4)]);
        let fixed = input("fixed", &[Dim::Fixed(2)]);
        let inputs = [rows, fixed];
        let check = |profile: &[(&str, Profile)]| {
            let profile = profile.iter().map(|(name, shapes)| ((*name).to_owned(), shapes.clone())).collect();
            check_profiles(&inputs, &[profile]).err().map(|error| error.to_string())
        };
        assert_eq!(check(&[("rows", range(&[1, 4], &[2, 4], &[3, 4]))]), None);
        assert_eq!(check(&[("rows", range(&[1, 4], &[2, 4], &[3, 4])), ("fixed", range(&[2], &[2], &[2]))]), None);
        for (profile, words) in [
            (vec![("rows", range(&[1, 4], &[5, 4], &[3, 4]))], "min <= opt <= max"),
            (vec![("rows", range(&[1, 3], &[2, 4], &[3, 4]))], "input 'rows' is [?, 4], its range is [1, 3]"),
            (vec![("rows", range(&[1], &[2], &[3]))], "input 'rows' is [?, 4]"),
            (vec![], "dynamic input 'rows: f32 [?, 4]' is missing"),
            (vec![("row", range(&[1], &[1], &[1]))], "no input 'row'; the inputs are rows, fixed"),
        ] {
            let message = check(&profile).expect("a problem");
            assert!(message.contains(words), "{message}");
        }
        let none = check_profiles(&inputs, &[]).expect_err("no profile").to_string();
        assert!(none.contains("input 'rows: f32 [?, 4]' has dynamic dimensions"), "{none}");
    }
}
