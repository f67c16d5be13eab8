// Manifests come from charts, clusters and colleagues: any text must give objects, or an error with file and document.
#include "cli/manifests.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  kiboko::Objects objects;
  const auto read = kiboko::cli::read_manifests(text, "file", objects);
  if (!read && !read.error().message.starts_with("file: document ")) std::abort();
  for (const std::string& sentence : kiboko::cli::passed_over(objects))
    if (sentence.empty()) std::abort();
  kiboko::cli::looks_like_a_trace(text);
  return 0;
}
