//! Rates that were measured on a device.

use serde::{Deserialize, Serialize};

use super::Machine;

/// Version of the JSON form.
pub const FORMAT: u32 = 1;

/// Memory bandwidth and matrix rates that a device reached, as `vla-trt bench --roofs --json` prints them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Roofs {
    /// [`FORMAT`].
    pub format: u32,
    /// The device: a GPU, or the CPU with its threads.
    pub device: String,
    /// What ran the networks, with its version.
    pub engine: String,
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Bytes of weights a second in products with one row.
    pub read_bytes_per_s: f64,
    /// FP32 operations a second in products of square matrices.
    pub fp32_flops_per_s: f64,
    /// FP16 operations a second, likewise.
    pub fp16_flops_per_s: f64,
    /// INT8 operations a second, likewise.
    pub int8_ops_per_s: f64,
}

impl Roofs {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// A message: no such JSON, another format, or a rate that is not above 0.
    pub fn parse(json: &str) -> Result<Self, String> {
        let roofs: Self = serde_json::from_str(json)
            .map_err(|error| format!("expected the JSON of vla-trt bench --roofs --json: {error}"))?;
        if roofs.format != FORMAT {
            return Err(format!("expected format {FORMAT}, found {}; measure again with this version", roofs.format));
        }
        let rates = [
            ("read_bytes_per_s", roofs.read_bytes_per_s),
            ("fp32_flops_per_s", roofs.fp32_flops_per_s),
            ("fp16_flops_per_s", roofs.fp16_flops_per_s),
            ("int8_ops_per_s", roofs.int8_ops_per_s),
        ];
        match rates.iter().find(|(_, rate)| !(rate.is_finite() && *rate > 0.0)) {
            Some((name, rate)) => Err(format!("{name}: expected a number above 0, found {rate}")),
            None => Ok(roofs),
        }
    }

    /// The device for floors of stages.
    pub const fn machine(&self) -> Machine {
        Machine {
            bytes_per_s: self.read_bytes_per_s,
            fp16_flops_per_s: self.fp16_flops_per_s,
            int8_ops_per_s: self.int8_ops_per_s,
            fp32_flops_per_s: self.fp32_flops_per_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roofs() -> Roofs {
        Roofs {
            format: FORMAT,
            device: "Orin".into(),
            engine: "TensorRT 10.3.0".into(),
            at: "2026-01-01T00:00:00Z".into(),
            read_bytes_per_s: 8e10,
            fp32_flops_per_s: 1e12,
            fp16_flops_per_s: 1e13,
            int8_ops_per_s: 2e13,
        }
    }

    #[test]
    fn what_is_written_reads_back_and_gives_the_machine() {
        let text = serde_json::to_string(&roofs()).expect("writes");
        let read = Roofs::parse(&text).expect("reads");
        assert_eq!(read, roofs());
        assert_eq!((read.machine().bytes_per_s, read.machine().int8_ops_per_s), (8e10, 2e13));
    }

    #[test]
    fn another_format_or_a_rate_that_is_none_is_refused() {
        for wrong in [
            Roofs { format: 2, ..roofs() },
            Roofs { int8_ops_per_s: 0.0, ..roofs() },
            Roofs { read_bytes_per_s: -1.0, ..roofs() },
        ] {
            let text = serde_json::to_string(&wrong).expect("writes");
            assert!(Roofs::parse(&text).is_err(), "{text}");
        }
        assert!(Roofs::parse("{}").is_err() && Roofs::parse("").is_err());
    }
}
