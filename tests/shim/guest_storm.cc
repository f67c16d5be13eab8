// As many processes as a region has slots. They are forked from one without CUDA, each starts it for itself.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <vector>

#include "guest_program.h"

namespace guest_program {

// storm COUNT ROUNDS: that many start, all of them live at once, and all are killed; and again. Says how many have
// started, and goes on when it is told to.
void kill_storm() {
  load_driver();
  for (unsigned long round = 0; round < number(1); ++round) {
    int ready[2];
    CHECK(pipe(ready) == 0, "no pipe");
    std::vector<pid_t> children;
    for (unsigned long i = 0; i < number(0); ++i) {
      const pid_t child = fork();
      CHECK(child >= 0, "no process");
      if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        const char answer = CALL(cuInit, 0) == CUDA_SUCCESS ? 'y' : 'n';
        CHECK(write(ready[1], &answer, 1) == 1, "nobody listens");
        for (;;) pause();
      }
      children.push_back(child);
    }
    unsigned long started = 0;
    for (std::size_t i = 0; i < children.size(); ++i) {
      char answer = 0;
      CHECK(read(ready[0], &answer, 1) == 1, "no answer");
      started += answer == 'y';
    }
    printf("%lu\n", started);
    fflush(stdout);
    CHECK(getchar() == '\n', "nobody speaks to us");
    for (const pid_t child : children) kill(child, SIGKILL);
    for (const pid_t child : children) waitpid(child, nullptr, 0);
    close(ready[0]);
    close(ready[1]);
  }
}

}  // namespace guest_program
