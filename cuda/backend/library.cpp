// The search. Python is not started: its packages are found by where they use to lie.
#include <gradus/cuda/backend/library.h>

#include <dlfcn.h>
#include <glob.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace gradus::cuda {
namespace {

using Strings = std::vector<std::string>;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}
std::string join(const Strings& parts, const char* separator) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : separator) + part;
  return text;
}
std::string version_text(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

// ---- folders
Strings split(std::string_view list) {
  Strings parts;
  while (!list.empty()) {
    const size_t end = std::min(list.find(':'), list.size());
    if (end > 0) parts.emplace_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return parts;
}

Strings toolkit_folders() {
  Strings folders;
  for (const std::string& root : {variable("CUDA_HOME"), variable("CUDA_PATH"), std::string("/usr/local/cuda")})
    if (!root.empty()) folders.push_back(root + "/lib64");
  return folders;
}

// lib/python3.11/site-packages, lib64/..., and Debian's lib/python3/dist-packages.
Strings python_folders() {
  const std::string home = variable("HOME");
  Strings folders;
  for (const std::string& prefix :
       {variable("VIRTUAL_ENV"), variable("CONDA_PREFIX"), home.empty() ? home : home + "/.local",
        std::string("/usr/local"), std::string("/usr"), std::string("/opt/conda")}) {
    if (prefix.empty()) continue;
    glob_t found;
    if (glob((prefix + "/lib*/python3*/*-packages/nvidia/*/lib").c_str(), GLOB_ONLYDIR, nullptr, &found) == 0)
      folders.insert(folders.end(), found.gl_pathv, found.gl_pathv + found.gl_pathc);
    globfree(&found);
  }
  return folders;
}

// ---- one file
std::string path_of(void* handle) {
  link_map* map = nullptr;
  return dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 ? map->l_name : "";
}

class Search {
 public:
  explicit Search(const LibraryRequest& request) : request_(request) { library_.name = request.name; }

  Library run() {
    const Strings own = split(variable("GRADUS_CUDA_LIB_PATH")), toolkit = toolkit_folders(), python = python_folders();
    bool found = false;
    for (const std::string& folder : own) found = found || try_folders({folder});
    found = found || try_loader() || try_folders(toolkit) || try_folders(python);
    if (!found) library_.error = explain(own, toolkit, python);
    return library_;
  }

 private:
  bool try_loader() {
    for (const std::string& file : request_.files)
      if (try_file(file)) return true;
    return false;
  }
  bool try_folders(const Strings& folders) {
    for (const std::string& file : request_.files)
      for (const std::string& folder : folders)
        if (const std::string path = folder + "/" + file; access(path.c_str(), F_OK) == 0 && try_file(path))
          return true;
    return false;
  }

  bool try_file(const std::string& file) {
    library_.handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library_.handle) {
      const std::string why = dlerror();
      if (why.find(file + ": cannot open") != 0)
        rejected_.push_back(why);  // it is there, and something else is missing
      return false;
    }
    const std::string path = path_of(library_.handle), fault = fault_in_library();
    if (fault.empty()) {
      library_.path = path;
      return true;
    }
    rejected_.push_back(path + ": " + fault);
    dlclose(std::exchange(library_.handle, nullptr));
    library_.version.clear();
    return false;
  }
  std::string fault_in_library() {
    for (const std::string& function : request_.functions)
      if (!library_.find(function.c_str())) return "too old, it has no " + function;
    const int version = request_.version(library_);
    library_.version = version_text(version);
    return version >= request_.oldest ? ""
                                      : "version " + library_.version + " is too old, " +
                                            version_text(request_.oldest) + " is the oldest that will do";
  }

  std::string explain(const Strings& own, const Strings& toolkit, const Strings& python) const {
    std::string text = request_.name + ": no usable " + join(request_.files, " or ") + " in GRADUS_CUDA_LIB_PATH (" +
                       (own.empty() ? "not set" : join(own, ":")) + "), on the loader's path, in " +
                       join(toolkit, " or ") + ", or in Python's packages (" +
                       (python.empty() ? "no nvidia/*/lib in site-packages" : join(python, ", ")) + ")";
    for (const std::string& why : rejected_) text += "; " + why;
    return text + ". Install it (" + request_.install + "), or set GRADUS_CUDA_LIB_PATH to its folder";
  }

  const LibraryRequest& request_;
  Library library_;
  Strings rejected_;
};

}  // namespace

void* Library::find(const char* function) const { return handle ? dlsym(handle, function) : nullptr; }

Library open_library(const LibraryRequest& request) { return Search(request).run(); }

}  // namespace gradus::cuda
