// Plug-ins: libraries that are loaded when something of theirs is first asked for, and stay.
#pragma once

#include <string>

namespace gradus::detail {

struct PlugIn {
  void* entry = nullptr;  ///< the entry point; null when there is none
  std::string reason;     ///< why, and behind a semicolon what helps
};

struct PlugInName {
  const char* file;      ///< looked for beside libgradus.so
  const char* variable;  ///< of the environment: the path of another file
  const char* entry;     ///< symbol of the entry point
  const char* remedy;    ///< what to do when the file is not there
};

PlugIn load_plug_in(const PlugInName& name);

}  // namespace gradus::detail
