// Finds and loads plug-ins.
#include <gradus/core/detail/plugin.h>

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>

namespace gradus::detail {
namespace {

std::string path_of(const PlugInName& name) {
  if (const char* path = std::getenv(name.variable)) return path;
  Dl_info self;
  static const int inside_this_library = 0;
  if (!dladdr(&inside_this_library, &self)) return name.file;
  return std::filesystem::path(self.dli_fname).parent_path() / name.file;
}

}  // namespace

PlugIn load_plug_in(const PlugInName& name) {
  const std::string path = path_of(name);
  std::error_code error;
  if (!std::filesystem::exists(path, error))
    return {nullptr,
            fmt::format("{} is not there; {}, or set {} to the path of the plug-in", path, name.remedy, name.variable)};
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) return {nullptr, fmt::format("the plug-in cannot be loaded: {}", dlerror())};
  void* const entry = dlsym(library, name.entry);
  if (!entry) return {nullptr, fmt::format("{} is no plug-in of Gradus: it has no {}", path, name.entry)};
  return {entry, ""};
}

}  // namespace gradus::detail
