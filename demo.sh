#!/usr/bin/env bash
# ./demo.sh: set-up and build once; then the node moves a simulated robot, with a small policy that reaches for a cube;
# then it runs on a recorded robot's topics, live, and the same bag goes through `vla-trt replay`.
# Leaves out/demo/{reach.gif,chunks.mcap,report.html,policy} and target/release/vla-trt. May be run again.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/scripts/lib.sh"
trap 'end_child; printf "\nInterrupted; nothing is left running.\n"; exit 130' INT TERM HUP
cd "$root"

out=out/demo
bag=data/aloha_cube
params=config/aloha.yaml
tool=target/release/vla-trt
policy="$out/policy"

title() { printf '%s%s%s\n' "$bold" "$*" "$plain"; }

title "1. Set-up"
foreground scripts/setup.sh
set +u
. "$cache/env.sh"
set -u

# The simulator's packages are fetched meanwhile; step 3 runs its set-up again and reports what is missing.
build() {
  local simulator status=0
  scripts/setup_sim.sh >"$cache/log/setup-sim.log" 2>&1 &
  simulator=$!
  scripts/build.sh || status=$?
  wait "$simulator" || true
  return "$status"
}

title "2. Build"
[ -e install/setup.bash ] || say "The first build compiles every dependency: several minutes on two cores."
logged "Building" "$cache/log/build.log" build ||
  die "The package was not built." "The whole log: .cache/log/build.log. Mend what it names and run ./demo.sh again."
[ "$took" -lt 10 ] || say "Built in $(seconds_as_text "$took")."
set +u
. install/setup.bash
set -u

title "3. The node moves a robot: simulated ALOHA, a policy that reaches for the red cube (docs/closed_loop.md)"
mkdir -p "$out"
export ROS_LOG_DIR="$cache/log/ros"
foreground scripts/setup_sim.sh
foreground "$cache/sim/bin/python3" scripts/closed_loop.py --policy data/reach_policy \
  --node install/vla_trt/lib/vla_trt/vla_trt_node --episodes 3 --latency-ms 100 --verbose --picture "$out/reach.gif" ||
  die "The closed loop failed." "Log of the node: out/closed_loop/node.log"

title "4. Demo policy (GR00T N1.6's shape in small, seeded random weights)"
rm -rf "$policy.partial"
logged "Making the policy" "$cache/log/demo-policy.log" "$tool" make-demo-policy -o "$policy.partial" ||
  die "The demo policy was not made." "The whole log: .cache/log/demo-policy.log"
rm -rf "$policy"
mv "$policy.partial" "$policy"
say "$policy, $(du -sh "$policy" | cut -f 1)"

title "5. The node, live, on the topics of $bag"
foreground "$VLA_TRT_PYTHON" scripts/demo_live.py --node install/vla_trt/lib/vla_trt/vla_trt_node \
  --policy "$policy" --params "$params" --bag "$bag" --log "$cache/log" -- \
  "$VLA_TRT_PYTHON" scripts/play_bag.py "$bag" --stamps now --wait-for-subscribers --quiet ||
  die "The live part failed." "Logs: .cache/log/demo-node.log, .cache/log/demo-player.log"

title "6. The same bag, policy and parameters through vla-trt replay (no ROS)"
foreground "$tool" replay "$bag" --policy "$policy" --params "$params" -o "$out/chunks.mcap" --report "$out/report.html" ||
  die "The replay failed." "Run it by hand for more: $tool -v replay $bag --policy $policy --params $params -o $out/chunks.mcap"

cat <<END

${bold}Written:${plain}
  $root/$out/reach.gif      what the robot did
  $root/$out/chunks.mcap    chunks and trajectories as ROS 2 messages
  $root/$out/report.html    open it in a browser
Next, in this shell: source .cache/env.sh && source install/setup.bash
Then: $tool --help, or the node without a robot (README.md, "A robot in ten minutes").
END
