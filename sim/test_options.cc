// The tests leave handles to the end of their processes, as programs do; that is no leak worth a report.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }
