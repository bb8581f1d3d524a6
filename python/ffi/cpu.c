// cpu.c: what this CPU has, as far as this build and the system let it be used.

#define _GNU_SOURCE  // syscall

#include "host.h"

#if defined(__GNUC__) && defined(__x86_64__)

#include <cpuid.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

int csc_host_has_avx2(void) { return __builtin_cpu_supports("avx2") != 0; }

int csc_host_has_avx512vnni(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

int csc_host_has_avx512vbmi(void) {
  return csc_host_has_avx512vnni() && __builtin_cpu_supports("avx512vbmi");
}

// Linux hands out the 8 KiB of tiles to a process that asks for them (since 5.16).
static int may_use_tiles(void) {
#if defined(__linux__) && defined(SYS_arch_prctl)
  const int request_permission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  const int tile_data = 18;               // XFEATURE_XTILE_DATA
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return 0;
#endif
}

int csc_host_has_amx(void) {
  const unsigned tile_and_int8 = 1u << 24 | 1u << 25;
  unsigned a, b, c, d;
  if (!csc_host_has_avx512vbmi()) return 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  return (d & tile_and_int8) == tile_and_int8 && may_use_tiles();
}

#else

int csc_host_has_avx2(void) { return 0; }
int csc_host_has_avx512vnni(void) { return 0; }
int csc_host_has_avx512vbmi(void) { return 0; }
int csc_host_has_amx(void) { return 0; }

#endif
