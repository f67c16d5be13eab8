# cmake -DOUT=FILE.cc -DFILES=a.yaml,b.yaml -P embed.cmake: the profiles as C++, so that the program needs no files.
cmake_policy(VERSION 3.25)
string(REPLACE "," ";" FILES "${FILES}")
set(body "")
foreach(file IN LISTS FILES)
  file(READ ${file} text)
  get_filename_component(name ${file} NAME)
  string(APPEND body "    {\"${name}\", R\"PROFILE(${text})PROFILE\"},\n")
endforeach()
file(WRITE ${OUT} "// Made by embed.cmake from profiles/*.yaml.
#include \"vendors/catalog.h\"

namespace kiboko::vendors {

std::span<const ProfileText> shipped_profiles() {
  static const ProfileText kProfiles[] = {
${body}  };
  return kProfiles;
}

}  // namespace kiboko::vendors
")
