// Names, descriptions and tags of operations.
#include <gradus/distributed/detail/collective.h>

#include <gradus/core/detail/check.h>

namespace gradus::dist::detail {

const char* name(Op op) {
  constexpr const char* names[] = {"all_reduce", "broadcast", "reduce",  "all_gather", "reduce_scatter", "all_to_all",
                                   "gather",     "scatter",   "barrier", "send",       "recv",           "exchange"};
  return names[static_cast<int>(op)];
}

const char* name(ReduceOp op) {
  constexpr const char* names[] = {"sum", "mean", "product", "min", "max"};
  return names[static_cast<int>(op)];
}

Fingerprint fingerprint(const Collective& c) {
  Fingerprint f = {.seq = c.seq,
                   .count = c.count,
                   .root = c.root_in_job,
                   .op = c.op,
                   .reduce = c.reduce,
                   .dtype = c.dtype,
                   .checked = c.checked,
                   .device = c.device.type,
                   .tag = 0};
  f.tag = tag_of(f);
  return f;
}

std::string describe(const Fingerprint& f) {
  std::string text = fmt::format("{} #{}", name(f.op), f.seq);
  if (f.op != Op::barrier) text += fmt::format(" {}[{}]", f.dtype, f.count);
  if (is_reduction(f.op)) text += fmt::format(" {}", name(f.reduce));
  if (f.root >= 0) {
    const bool towards = f.op == Op::reduce || f.op == Op::gather || f.op == Op::send;
    text += fmt::format(" {} {}", towards ? "to" : "from", f.root);
  }
  if (f.device == DeviceType::cuda) text += " on cuda";
  if (!f.checked) text += " (not compared)";
  return text;
}

uint32_t tag_of(const Fingerprint& f) {
  uint64_t hash = 0x9e3779b97f4a7c15;
  const auto mix = [&hash](uint64_t value) {
    hash = (hash ^ value) * 0xff51afd7ed558ccd;
    hash ^= hash >> 33;
  };
  mix(static_cast<uint64_t>(f.seq));
  mix(static_cast<uint64_t>(f.count));
  mix(static_cast<uint64_t>(f.dtype) << 8 | static_cast<uint64_t>(f.device));
  if (!is_pairwise(f.op)) {  // the two ends of a message have different operations and roots
    mix(static_cast<uint64_t>(f.root));
    mix(static_cast<uint64_t>(f.op) << 8 | static_cast<uint64_t>(f.reduce));
  }
  // The highest bit tells unchecked from checked.
  return static_cast<uint32_t>(hash >> 33) | (f.checked ? 0 : 0x80000000u) | 1u;
}

bool fits(const Fingerprint& mine, const Fingerprint& theirs) {
  const bool complements =
      (mine.op == Op::send && theirs.op == Op::recv) || (mine.op == Op::recv && theirs.op == Op::send);
  return complements && mine.seq == theirs.seq && mine.count == theirs.count && mine.dtype == theirs.dtype &&
         mine.device == theirs.device;
}

}  // namespace gradus::dist::detail
