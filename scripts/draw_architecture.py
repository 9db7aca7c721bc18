#!/usr/bin/env python3
"""Draw docs/architecture.svg: the data's way through the node, and from a checkpoint to engines. Standard library only.

    python3 scripts/draw_architecture.py docs/architecture.svg

The picture has a background and both colour schemes, so it is readable on light and dark pages.
"""

import sys
from html import escape

WIDTH, HEIGHT = 940, 560

STYLE = """
svg { font-family: 'DejaVu Sans', Verdana, Helvetica, Arial, sans-serif; }
.page { fill: #ffffff; stroke: #d0d7de; }
.frame { fill: #f6f8fa; stroke: #8c959f; }
.box { fill: #ffffff; stroke: #57606a; stroke-width: 1.3; }
.online { fill: #ddf4ff; stroke: #0969da; }
.safety { fill: #fff1e5; stroke: #bc4c00; }
.offline { fill: #dafbe1; stroke: #1a7f37; }
.title { font-size: 14.5px; font-weight: 600; fill: #1f2328; text-anchor: middle; }
.line { font-size: 12.5px; fill: #1f2328; text-anchor: middle; }
.crate { font-size: 11.5px; fill: #59636e; text-anchor: middle; font-style: italic; }
.head { font-size: 14.5px; font-weight: 600; fill: #1f2328; }
.note { font-size: 12.5px; fill: #59636e; }
.middle { text-anchor: middle; }
.arrow { fill: none; stroke: #57606a; stroke-width: 1.6; marker-end: url(#tip); }
.tip { fill: #57606a; }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117; stroke: #3d444d; }
  .frame { fill: #151b23; stroke: #656c76; }
  .box { fill: #212830; stroke: #9198a1; }
  .online { fill: #12253f; stroke: #4493f8; }
  .safety { fill: #3a2210; stroke: #db6d28; }
  .offline { fill: #12301d; stroke: #3fb950; }
  .title, .line, .head { fill: #f0f6fc; }
  .crate, .note { fill: #9198a1; }
  .arrow { stroke: #9198a1; }
  .tip { fill: #9198a1; }
}
"""


class Drawing:
    """Elements in the order in which they are drawn."""

    def __init__(self):
        self.parts = []

    def text(self, x, y, words, kind):
        self.parts.append(f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(words)}</text>')

    def rectangle(self, x, y, width, height, kind):
        self.parts.append(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7"/>')

    def frame(self, x, y, width, height, title, note=''):
        self.rectangle(x, y, width, height, 'frame')
        self.text(x + 14, y + 22, title, 'head')
        if note:
            self.text(x + 14, y + 39, note, 'note')

    def box(self, x, y, width, height, title, lines=(), crate='', kind=''):
        """A box whose texts are centred as one block."""
        self.rectangle(x, y, width, height, f'box {kind}'.strip())
        texts = [(title, 'title')] + [(line, 'line') for line in lines] + ([(crate, 'crate')] if crate else [])
        step = 17
        first = y + height / 2 - step * (len(texts) - 1) / 2 + 5
        for row, (words, style) in enumerate(texts):
            self.text(x + width / 2, first + step * row, words, style)

    def arrow(self, *points):
        way = 'M' + ' L'.join(f'{x:g} {y:g}' for x, y in points)
        self.parts.append(f'<path class="arrow" d="{way}"/>')

    def svg(self):
        return '\n'.join([
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
            'aria-label="Topics become an observation, the policy\'s engines make an action chunk, and the motion code makes a '
            'trajectory within limits; below, checkpoint to engines">',
            f'<style>{STYLE}</style>',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path class="tip" d="M0 0 L8 4 L0 8 z"/></marker></defs>',
            *self.parts,
            '</svg>', ''])


def topics(draw):
    """The robot's side of the node: what comes in on the left, what leaves on the right."""
    draw.box(16, 84, 128, 128, 'Inputs', ['cameras', 'joint states', 'poses', 'instruction', 'enable switch'])
    draw.text(80, 228, 'ROS 2 topics', 'note middle')
    draw.text(80, 244, 'or a bag', 'note middle')
    draw.arrow((144, 118), (176, 118))
    draw.box(768, 84, 156, 76, '~/action_chunk', ['the policy\'s rows,', 'positions clamped'])
    draw.box(768, 188, 156, 92, '~/joint_trajectory', ['~/joint_command', 'within limits,', 'ends at rest'], kind='safety')
    draw.box(768, 306, 156, 40, '/diagnostics')


def node(draw):
    """One cycle, from bytes to messages, and the threads beside it."""
    draw.frame(162, 16, 588, 346, 'vla_trt_node', 'one cycle (vla_runtime); vla-trt replay runs the same code on a bag, without ROS')
    draw.box(176, 84, 168, 76, 'messages', ['views of CDR bytes,', 'no copy of images'], 'vla_messages', 'online')
    draw.box(374, 84, 168, 76, 'observation', ['newest sample of each', 'input: age, skew, stuck'], 'vla_policy', 'online')
    draw.box(572, 84, 164, 76, 'encode', ['pixels, token ids,', 'normalised state'], 'vla_policy', 'online')
    draw.box(176, 188, 168, 92, 'engines', ['vision, language,', 'context, N x step'],
             'vla_engines, vla_tensorrt', 'online')
    draw.box(374, 188, 168, 92, 'decode', ['denormalise, relative', 'to absolute: a chunk'], 'vla_policy', 'online')
    draw.box(572, 188, 164, 92, 'motion', ['hand-over, limits,', 'stop within max_blind_s'], 'vla_motion', 'safety')
    draw.box(374, 306, 362, 42, 'watchdog, every 10 ms', ['inputs, tracking error, enable switch: brakes'], kind='safety')
    draw.box(176, 306, 168, 42, 'parameters', ['checked, live'], kind='online')
    draw.arrow((344, 122), (373, 122))
    draw.arrow((542, 122), (571, 122))
    draw.arrow((654, 160), (654, 174), (260, 174), (260, 187))
    draw.arrow((344, 234), (373, 234))
    draw.arrow((542, 234), (571, 234))
    draw.arrow((654, 306), (654, 281))
    draw.arrow((736, 234), (767, 234))
    draw.arrow((458, 188), (458, 181), (752, 181), (752, 122), (767, 122))
    draw.arrow((736, 327), (767, 327))


def offline(draw):
    """From a checkpoint to engines, with the command line tool."""
    draw.frame(16, 380, 908, 164, 'vla-trt', 'no ROS, no PyTorch')
    draw.box(30, 446, 124, 82, 'checkpoint', ['GR00T N1.6,', 'tokenizer'])
    draw.box(184, 446, 110, 82, 'export', [], 'vla_export', 'offline')
    draw.box(324, 446, 176, 82, 'policy bundle', ['policy.yaml, ONNX,', 'tokenizer, statistics'])
    draw.box(530, 446, 176, 82, 'build, verify', ['on the robot: engines,', 'accuracy against ONNX'], 'vla_builder, vla_offline', 'offline')
    draw.box(742, 446, 168, 82, 'engines', ['each with a record', 'of where it was built'])
    for start, end in ((154, 183), (294, 323), (500, 529), (706, 741)):
        draw.arrow((start, 487), (end, 487))
    draw.arrow((826, 446), (826, 420), (168, 420), (168, 268), (175, 268))
    draw.text(340, 412, 'verified, planned, admitted into free memory, then loaded', 'note')


def main():
    """Write the picture to the file that is named, or to standard output."""
    draw = Drawing()
    draw.rectangle(0.5, 0.5, WIDTH - 1, HEIGHT - 1, 'page')
    node(draw)
    topics(draw)
    offline(draw)
    if len(sys.argv) > 1:
        with open(sys.argv[1], 'w', encoding='utf-8') as file:
            file.write(draw.svg())
    else:
        sys.stdout.write(draw.svg())


if __name__ == '__main__':
    main()
