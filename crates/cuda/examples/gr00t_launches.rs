//! How the kernels are launched for GR00T's networks on a GPU with so many multiprocessors: `gr00t_launches 8` prints, separated by
//! tabs, what, function, blocks, threads of a block and bytes of shared memory. scripts/check_kernels.sh adds registers to it.

use vla_cuda::kernels::{Limits, configuration};
use vla_cuda::launch::{
    Arguments, AttentionArguments, Element, ElementwiseArguments, Kernel, NormArguments, RotaryArguments, RotaryHeads,
};

fn norm(rows: i32, groups: i32, width: i32) -> (Kernel, Arguments) {
    let arguments = NormArguments { rows, groups, width, ..NormArguments::default() };
    (Kernel::Norm(Element::F16), Arguments::Norm(arguments))
}

/// Of `heads` and `kv_heads` heads.
fn attention(
    groups: i32,
    rows: i32,
    keys: i32,
    (heads, kv_heads): (i32, i32),
    dim: i32,
    causal: bool,
) -> (Kernel, Arguments) {
    let causal = i32::from(causal);
    let arguments = AttentionArguments { rows, keys, groups, heads, kv_heads, dim, causal, ..Default::default() };
    (Kernel::Attention(Element::F16), Arguments::Attention(arguments))
}

fn rotary(rows: i32, group: i32, heads: [i32; 2], dim: i32) -> (Kernel, Arguments) {
    let [first, second] = heads.map(|heads| RotaryHeads { heads, ..RotaryHeads::default() });
    let arguments = RotaryArguments { first, second, rows, group, dim, ..RotaryArguments::default() };
    (Kernel::Rotary(Element::F16), Arguments::Rotary(arguments))
}

fn elementwise(rows: i32, columns: i32) -> (Kernel, Arguments) {
    let arguments = ElementwiseArguments { rows, columns, ..ElementwiseArguments::default() };
    (Kernel::Elementwise(Element::F16), Arguments::Elementwise(arguments))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let multiprocessors = std::env::args().nth(1).unwrap_or_else(|| "8".to_owned()).parse()?;
    let limits = Limits { multiprocessors, shared: 99 << 10, clusters: false, warpgroups: false };
    let launches = [
        ("DiT: norm, 51 rows", norm(51, 1, 1536)),
        ("DiT: attention to 53 text rows", attention(1, 51, 53, (32, 32), 48, false)),
        ("DiT: attention to 324 image rows", attention(1, 51, 324, (32, 32), 48, false)),
        ("DiT: self-attention", attention(1, 51, 51, (32, 32), 48, false)),
        ("language: norm, 400 rows", norm(400, 1, 2048)),
        ("language: rotary with norm of the head, 16 and 8 heads", rotary(400, 400, [16, 8], 128)),
        ("language: causal attention", attention(1, 400, 400, (16, 8), 128, true)),
        ("language: SiLU times the gate, 6144 wide", elementwise(400, 6144)),
        ("vision: norm, 3 images of 256 patches", norm(768, 1, 1152)),
        ("vision: attention of each image", attention(3, 256, 256, (16, 16), 72, false)),
        ("vision, N1.7: attention of 3 images of 1024 patches", attention(3, 1024, 1024, (16, 16), 64, false)),
        ("fusion: attention of 377 rows", attention(1, 377, 377, (32, 32), 64, false)),
    ];
    for (what, (kernel, arguments)) in launches {
        let c = configuration(kernel, &arguments, limits)?;
        let blocks: u32 = c.grid.iter().product();
        println!("{what}\t{}\t{blocks}\t{}\t{}", c.function, c.block[0], c.shared);
    }
    Ok(())
}
