// Finds and loads the plug-in of groups on CPUs.
#include <fmt/format.h>

#include <gradus/core/detail/plugin.h>
#include <gradus/distributed/detail/engine.h>
#include <gradus/version.h>

namespace gradus::dist::detail {
namespace {

struct Loaded {
  EngineMaker* maker = nullptr;
  std::string reason;
};

Loaded load() {
  const auto plug_in = gradus::detail::load_plug_in({.file = "libgradus_gloo.so",
                                                     .variable = "GRADUS_GLOO_PLUGIN",
                                                     .entry = gloo_entry,
                                                     .remedy = "install libgloo-dev and build Gradus again"});
  Loaded loaded{nullptr, plug_in.reason};
  if (plug_in.entry) loaded.maker = reinterpret_cast<GlooEntry>(plug_in.entry)(GRADUS_VERSION, &loaded.reason);
  return loaded;
}

const Loaded& loaded() {
  static const Loaded* result = new Loaded(load());  // never destroyed: threads of groups may outlive main()
  return *result;
}

}  // namespace

EngineMaker* find_gloo(std::string* reason) {
  if (reason) *reason = loaded().reason;
  return loaded().maker;
}

EngineMaker& gloo() {
  if (!loaded().maker) throw CommError(fmt::format("groups of processes need Gloo: {}", loaded().reason));
  return *loaded().maker;
}

}  // namespace gradus::dist::detail
