// Finds and loads the plug-in of groups on CPUs.
#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>

#include <gradus/distributed/detail/engine.h>
#include <gradus/version.h>

namespace gradus::dist::detail {
namespace {

constexpr const char* plugin_name = "libgradus_gloo.so";

// GRADUS_GLOO_PLUGIN, else the file beside libgradus.so.
std::string plugin_path() {
  if (const char* path = std::getenv("GRADUS_GLOO_PLUGIN")) return path;
  Dl_info self;
  static const int inside_this_library = 0;
  if (!dladdr(&inside_this_library, &self)) return plugin_name;
  return std::filesystem::path(self.dli_fname).parent_path() / plugin_name;
}

struct Loaded {
  EngineMaker* maker = nullptr;
  std::string reason;
};

Loaded load() {
  const std::string path = plugin_path();
  std::error_code error;
  if (!std::filesystem::exists(path, error))
    return {nullptr, fmt::format("{} is not there; install libgloo-dev and build Gradus again, or set "
                                 "GRADUS_GLOO_PLUGIN to the path of the plug-in",
                                 path)};
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) return {nullptr, fmt::format("the plug-in cannot be loaded: {}", dlerror())};
  const auto entry = reinterpret_cast<GlooEntry>(dlsym(library, gloo_entry));
  if (!entry) return {nullptr, fmt::format("{} is no plug-in of Gradus: it has no {}", path, gloo_entry)};
  Loaded loaded;
  loaded.maker = entry(GRADUS_VERSION, &loaded.reason);
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
  if (!loaded().maker) throw CommError(fmt::format("processes on CPUs need Gloo: {}", loaded().reason));
  return *loaded().maker;
}

}  // namespace gradus::dist::detail
