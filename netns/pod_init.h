// SPDX-License-Identifier: GPL-2.0-or-later
// The first process of a pod: `trama pod-init`, not for people. Single-threaded from beginning to end.
#pragma once

namespace trama::netns {

// argv: pod-init --spec-fd N --control-fd M. Started by PodProcesses::start with the pod's launch description on N and
// one end of a stream socket on M. Enters the pod's cgroups and namespaces, forks the init proper (PID 1 of the
// pod), hands a pidfd of it over M, and leaves. The init proper reports "ok" or a sentence over M, then lives until all
// containers ended for good or it is told to stop: SIGTERM from outside the pod, with the grace time in milliseconds as
// the signal's value. kReleaseSignal lets containers go that were held. Does not return.
int pod_init_main(int argc, char** argv);

}  // namespace trama::netns
