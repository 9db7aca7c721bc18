// Runs a grid's clusters of blocks one after the other; the threads of a cluster's blocks are fibers.
//
// A fiber runs until it waits: for its block, for the lanes of its warp, or for the launch before. The next one is chosen at random
// among those that can go on. Dynamic shared memory begins as NaNs and ends before a page without access. Copies by cp.async read
// when they are issued and write when they are waited for; copies of tiles read and write some time later, in any order. When every
// fiber of the first cluster waits for the launch before or has ended, the caller's function is called: it may write what the launch
// before would have written.
#include "emulator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <deque>
#include <memory>
#include <vector>

namespace emulator {

thread_local Index thread_index, block_index, block_size, grid_size;
const Kernel *Kernel::first = nullptr;
extern const int kernels_are_linked;

Kernel::Kernel(const char *name, size_t arguments, int threads, void (*run)(const void *))
    : name(name), arguments(arguments), threads(threads), run(run), next(first) {
  first = this;
}

namespace {

constexpr size_t kStack = 128 << 10;
constexpr unsigned kShared = 227 << 10;  // bytes that a block may have
constexpr unsigned kCluster = 8;         // blocks that a cluster may have

enum class State { kReady, kBlock, kCluster, kWarp, kPhase, kBefore, kEnded };
const char *const kStates[] = {"ready", "at __syncthreads", "at its cluster", "at an operation of its warp", "at a barrier's phase", "at the launch before",
                               "ended"};

struct Copy {
  void *to;
  unsigned char bytes[16];
};

struct Fiber {
  ucontext_t context;
  jmp_buf resume;
  std::unique_ptr<char[]> stack;
  bool started = false;
  State state = State::kEnded;
  unsigned number, rank;  // among all fibers; of its block in the cluster
  Index index, block;
  unsigned arrivals;  // at its cluster
  const char *operation;  // of its warp
  const void *in;
  void *out;
  std::vector<Copy> issued;
  std::deque<std::vector<Copy>> groups;
};

// A barrier in shared memory.
struct Phase {
  uint8_t arrivals, pending;
  uint16_t number;
  int32_t bytes;  // that have not come yet
};
static_assert(sizeof(Phase) == sizeof(uint64_t));

struct Transfer {
  unsigned char *shared;  // of its block
  uint32_t to;
  TensorMap map;
  int column, row;
  uint64_t *barrier;
};

struct Machine {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<unsigned> ready, lanes_there;
  Fiber *current = nullptr;
  std::vector<unsigned> at_block;  // by rank
  std::vector<Transfer> transfers;
  unsigned blocks = 1, block_threads = 0, threads = 0, arrivals = 0, ended = 0, at_before = 0;
  jmp_buf scheduler;
  bool failed = false, was_before = false;
  char error[400];
  void (*run)(const void *);
  const void *arguments;
  unsigned char *pages[kCluster] = {}, *shared[kCluster] = {};
  unsigned shared_bytes = 0;
  uint64_t random;

  unsigned draw(unsigned below) {
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    return static_cast<unsigned>((random >> 20) % below);
  }
};
thread_local Machine machine;

// Back to the scheduler until the fiber is chosen again.
__attribute__((noinline)) void leave() {
  if (!_setjmp(machine.current->resume)) _longjmp(machine.scheduler, 1);
}

void fiber_main() {
  for (;;) {
    machine.run(machine.arguments);
    Fiber &fiber = *machine.current;
    for (const std::vector<Copy> &group : fiber.groups)
      if (!group.empty()) fail("the thread ends before its asynchronous copies");
    if (!fiber.issued.empty()) fail("the thread ends before its asynchronous copies");
    fiber.groups.clear();
    fiber.state = State::kEnded;
    machine.ended++;
    leave();
  }
}

__attribute__((noinline)) void resume(Fiber &fiber) {
  machine.current = &fiber;
  thread_index = fiber.index, block_index = fiber.block;
  if (_setjmp(machine.scheduler)) return;
  if (fiber.started) _longjmp(fiber.resume, 1);
  fiber.started = true;
  setcontext(&fiber.context);
}

Fiber &fiber_at(unsigned i) {
  while (machine.fibers.size() <= i) machine.fibers.push_back(std::make_unique<Fiber>());
  Fiber &fiber = *machine.fibers[i];
  if (!fiber.started) {
    if (!fiber.stack) fiber.stack.reset(new char[kStack]);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, fiber_main, 0);
  }
  return fiber;
}

void make_ready(unsigned i) {
  machine.fibers[i]->state = State::kReady;
  machine.ready.push_back(i);
}

void release(State state) {
  for (unsigned i = 0; i < machine.threads; i++)
    if (machine.fibers[i]->state == state) make_ready(i);
}

Phase phase_of(const uint64_t *barrier) {
  Phase phase;
  memcpy(&phase, barrier, sizeof phase);
  return phase;
}

// Ends the phase where everything that it waits for has come.
void keep(uint64_t *barrier, Phase phase) {
  if (phase.pending == 0 && phase.bytes == 0) {
    phase.number++, phase.pending = phase.arrivals;
    release(State::kPhase);
  }
  memcpy(barrier, &phase, sizeof phase);
}

// Pieces of 16 bytes change places within eight rows of 128 bytes.
uint32_t swizzled(uint32_t address) { return address ^ (address / 128 % 8) * 16; }

// One of the tiles that are on their way arrives. Emulated maps have address, columns, rows, bytes from row to row, and rows of a tile.
void complete_transfer() {
  const unsigned pick = machine.draw(machine.transfers.size());
  const Transfer transfer = machine.transfers[pick];
  machine.transfers[pick] = machine.transfers.back();
  machine.transfers.pop_back();
  const uint64_t *map = transfer.map.words;
  for (unsigned row = 0; row < map[4]; row++)
    for (unsigned column = 0; column < 64; column++) {
      const uint64_t from_row = transfer.row + row, from_column = transfer.column + column;
      unsigned char *to = transfer.shared + swizzled(transfer.to + row * 128 + column * 2);
      if (from_row < map[2] && from_column < map[1])
        memcpy(to, reinterpret_cast<const void *>(map[0] + from_row * map[3] + from_column * 2), 2);
      else
        memset(to, 0, 2);
    }
  Phase phase = phase_of(transfer.barrier);
  phase.bytes -= static_cast<int32_t>(map[4] * 128);
  keep(transfer.barrier, phase);
}

// The cluster whose first block is `first`.
void start_cluster(Index first) {
  machine.ready.clear();
  machine.transfers.clear();
  machine.lanes_there.assign(machine.threads / kLanes, 0);
  machine.at_block.assign(machine.blocks, 0);
  machine.arrivals = machine.ended = machine.at_before = 0;
  for (unsigned rank = 0; rank < machine.blocks; rank++) memset(machine.shared[rank], 0xff, machine.shared_bytes);
  for (unsigned i = 0; i < machine.threads; i++) {
    Fiber &fiber = fiber_at(i);
    fiber.number = i, fiber.rank = i / machine.block_threads, fiber.arrivals = 0;
    fiber.index = {i % machine.block_threads, 0, 0};
    fiber.block = {first.x + fiber.rank, first.y, first.z};
    make_ready(i);
  }
}

// False after a failure.
bool run_cluster(void (*before)(void *), void *context) {
  for (;;) {
    while (!machine.ready.empty() || !machine.transfers.empty()) {
      if (!machine.transfers.empty() && (machine.ready.empty() || machine.draw(16) == 0)) {
        complete_transfer();
        continue;
      }
      const unsigned pick = machine.draw(machine.ready.size()), i = machine.ready[pick];
      machine.ready[pick] = machine.ready.back();
      machine.ready.pop_back();
      resume(*machine.fibers[i]);
      if (machine.failed) return false;
    }
    if (machine.at_before) {
      machine.at_before = 0;
      if (!machine.was_before && before) before(context);
      machine.was_before = true;
      release(State::kBefore);
    } else if (machine.ended == machine.threads) {
      return true;
    } else {
      break;
    }
  }
  int length = snprintf(machine.error, sizeof machine.error, "deadlock in block (%u, %u, %u):", block_index.x, block_index.y, block_index.z);
  for (unsigned i = 0, told = 0; i < machine.threads && told < 4; i++) {
    if (i && machine.fibers[i]->state == machine.fibers[i - 1]->state) continue;
    length += snprintf(machine.error + length, sizeof machine.error - length, " thread %u %s;", i, kStates[static_cast<int>(machine.fibers[i]->state)]);
    told++;
  }
  machine.failed = true;
  return false;
}

// So that the last byte of each block's shared memory lies before a page without access.
bool place_shared(unsigned bytes) {
  const size_t page = sysconf(_SC_PAGESIZE), size = (kShared + page - 1) / page * page;
  machine.shared_bytes = bytes;
  for (unsigned rank = 0; rank < machine.blocks; rank++) {
    unsigned char *&place = machine.pages[rank];
    if (!place) {
      void *pages = mmap(nullptr, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (pages == MAP_FAILED || mprotect(static_cast<char *>(pages) + size, page, PROT_NONE)) return false;
      place = static_cast<unsigned char *>(pages);
    }
    machine.shared[rank] = place + size - bytes;
  }
  return true;
}

}  // namespace

void fail(const char *format, ...) {
  va_list list;
  va_start(list, format);
  const int length = snprintf(machine.error, sizeof machine.error, "block (%u, %u, %u), thread %u: ", block_index.x, block_index.y,
                              block_index.z, thread_index.x);
  vsnprintf(machine.error + length, sizeof machine.error - length, format, list);
  va_end(list);
  machine.failed = true;
  _longjmp(machine.scheduler, 1);
}

void wait_for_block() {
  const unsigned rank = machine.current->rank, first = rank * machine.block_threads;
  machine.current->state = State::kBlock;
  if (++machine.at_block[rank] == machine.block_threads) {
    machine.at_block[rank] = 0;
    for (unsigned i = first; i < first + machine.block_threads; i++) make_ready(i);
  }
  leave();
}

int cluster_rank() { return static_cast<int>(machine.current->rank); }
int cluster_size() { return static_cast<int>(machine.blocks); }
void cluster_arrive() {
  machine.current->arrivals++;
  if (++machine.arrivals % machine.threads == 0) release(State::kCluster);
}
void cluster_wait() {
  if (machine.arrivals >= machine.current->arrivals * machine.threads) return;
  machine.current->state = State::kCluster;
  leave();
}
void *in_cluster(void *place, int rank) {
  return machine.shared[rank] + (static_cast<unsigned char *>(place) - machine.shared[machine.current->rank]);
}

uint32_t shared_offset(const void *place) {
  return static_cast<uint32_t>(static_cast<const unsigned char *>(place) - machine.shared[machine.current->rank]);
}
void begin_barrier(uint64_t *barrier, int arrivals) {
  const Phase phase = {static_cast<uint8_t>(arrivals), static_cast<uint8_t>(arrivals), 0, 0};
  memcpy(barrier, &phase, sizeof phase);
}
void arrive(uint64_t *barrier, int bytes) {
  Phase phase = phase_of(barrier);
  if (phase.arrivals == 0 || phase.arrivals > kLanes || phase.pending == 0 || phase.pending > phase.arrivals) fail("a barrier that has not begun");
  phase.pending--, phase.bytes += bytes;
  keep(barrier, phase);
}
void wait_for_phase(uint64_t *barrier, int parity) {
  while (phase_of(barrier).number % 2 == parity) {
    machine.current->state = State::kPhase;
    leave();
  }
}
void copy_tile(void *to, const TensorMap &map, int column, int row, uint64_t *barrier) {
  const uint32_t place = shared_offset(to);
  if (place % 1024) fail("a tile at %u bytes of shared memory, which is no multiple of 1024", place);
  if (reinterpret_cast<uintptr_t>(&map) % 64) fail("a tensor map that is not at a multiple of 64 bytes");
  if (map.words[0] % 16 || map.words[3] % 16 || map.words[4] == 0 || map.words[4] > 256) fail("a tensor map that the driver refuses");
  if (place + map.words[4] * 128 > machine.shared_bytes) fail("a tile of %u rows at %u bytes, behind the block's shared memory", static_cast<unsigned>(map.words[4]), place);
  machine.transfers.push_back({machine.shared[machine.current->rank], place, map, column, row, barrier});
}
const void *tile_element(uint64_t descriptor, int row, int column) {
  const uint32_t first = (descriptor & 0x3fff) * 16, other = (descriptor >> 16 & 0x3fff), group = (descriptor >> 32 & 0x3fff) * 16;
  if (other != 1 || group != 1024 || descriptor >> 49 != 1ull << 13) fail("the tile's descriptor is %llx", static_cast<unsigned long long>(descriptor));
  const uint32_t place = swizzled(first + row / 8 * group + row % 8 * 128 + column * 2);
  if (place + 2 > machine.shared_bytes) fail("an element of a tile at %u bytes, behind the block's shared memory", place);
  return machine.shared[machine.current->rank] + place;
}

void wait_for_launch_before() {
  machine.current->state = State::kBefore;
  machine.at_before++;
  leave();
}

void collective(const char *operation, const void *in, void *out, void (*compute)(const Lanes &)) {
  Fiber &fiber = *machine.current;
  const unsigned warp = fiber.number / kLanes;
  fiber.operation = operation, fiber.in = in, fiber.out = out;
  fiber.state = State::kWarp;
  if (++machine.lanes_there[warp] == kLanes) {
    machine.lanes_there[warp] = 0;
    Lanes lanes;
    for (int i = 0; i < kLanes; i++) {
      const Fiber &lane = *machine.fibers[warp * kLanes + i];
      if (strcmp(lane.operation, operation)) fail("%s while lane %d is at %s", operation, i, lane.operation);
      lanes.in[i] = lane.in, lanes.out[i] = lane.out;
    }
    compute(lanes);
    for (int i = 0; i < kLanes; i++) make_ready(warp * kLanes + i);
  }
  leave();
}

unsigned char *shared_memory() { return machine.shared[machine.current->rank]; }
unsigned shared_memory_bytes() { return machine.shared_bytes; }

void copy_async(void *to, const void *from, size_t bytes) {
  Copy copy = {to, {}};
  if (from) memcpy(copy.bytes, from, bytes);
  machine.current->issued.push_back(copy);
}
void copy_async_commit() {
  machine.current->groups.push_back(std::move(machine.current->issued));
  machine.current->issued.clear();
}
void copy_async_wait(int pending) {
  Fiber &fiber = *machine.current;
  while (fiber.groups.size() > static_cast<size_t>(pending)) {
    for (const Copy &copy : fiber.groups.front()) memcpy(copy.to, copy.bytes, sizeof copy.bytes);
    fiber.groups.pop_front();
  }
}

namespace {

const char *refuse(const char *reason, const char *name) {
  snprintf(machine.error, sizeof machine.error, "%s: %s", name, reason);
  return machine.error;
}

const char *emulate(const char *name, Index grid, Index block, unsigned cluster, unsigned shared, const void *arguments, size_t size, uint64_t seed,
                    void (*before)(void *), void *context) {
  const Kernel *kernel = kernels_are_linked ? Kernel::first : nullptr;
  while (kernel && strcmp(kernel->name, name)) kernel = kernel->next;
  if (!kernel) return refuse("no kernel of this name is compiled", name);
  if (size != kernel->arguments) return refuse("its arguments have another size", name);
  const unsigned threads = block.x * block.y * block.z;
  if (threads % kLanes || threads == 0 || block.y != 1 || block.z != 1) return refuse("a block has whole warps along x", name);
  if (threads > static_cast<unsigned>(kernel->threads)) return refuse("the block has more threads than the launch bound", name);
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535) return refuse("the grid is empty or too large", name);
  if (cluster == 0 || cluster > kCluster || grid.x % cluster) return refuse("the grid is not of whole clusters of at most 8 blocks", name);
  machine.blocks = cluster;
  if (shared > kShared || shared % 16 || !place_shared(shared)) return refuse("shared memory is over 227 KiB or no multiple of 16", name);
  machine.run = kernel->run, machine.arguments = arguments, machine.block_threads = threads, machine.threads = threads * cluster;
  machine.failed = machine.was_before = false;
  machine.random = seed * 2 + 1;
  block_size = block, grid_size = grid;
  for (unsigned z = 0; z < grid.z; z++)
    for (unsigned y = 0; y < grid.y; y++)
      for (unsigned x = 0; x < grid.x; x += cluster) {
        start_cluster({x, y, z});
        if (run_cluster(before, context)) continue;
        machine.fibers.clear();  // they are in the middle of the kernel
        return machine.error;
      }
  return nullptr;
}

}  // namespace
}  // namespace emulator

// Null, or what is wrong; valid until the thread's next call.
extern "C" const char *vla_cuda_emulate(const char *name, const unsigned *grid, const unsigned *block, unsigned cluster, unsigned shared,
                                        const void *arguments, size_t size, uint64_t seed, void (*before)(void *), void *context) {
  using emulator::Index;
  return emulator::emulate(name, Index{grid[0], grid[1], grid[2]}, Index{block[0], block[1], block[2]}, cluster, shared, arguments, size, seed,
                           before, context);
}
