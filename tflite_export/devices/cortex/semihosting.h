// Arm semihosting (ARM IHI 0100): files of the machine on which the emulator runs, its console, the end.
#ifndef TF_STRUCTPRUNE_SEMIHOSTING_H_
#define TF_STRUCTPRUNE_SEMIHOSTING_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void clock_start(void);
uint64_t clock_ticks(void);
uint32_t stack_used(void);

enum { SYS_OPEN = 0x01, SYS_CLOSE = 0x02, SYS_WRITE0 = 0x04, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT = 0x18 };
enum { OPEN_READ_BINARY = 1, OPEN_WRITE_BINARY = 5 };

static inline int32_t semihosting_call(int32_t operation, const void* arguments) {
  register int32_t r0 __asm("r0") = operation;
  register const void* r1 __asm("r1") = arguments;
  __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

static inline void semihosting_print(const char* text) { semihosting_call(SYS_WRITE0, text); }

static inline void semihosting_exit(int32_t well) {
  const uint32_t normal = 0x20026u, error = 0x20023u;  // ADP_Stopped_ApplicationExit, ADP_Stopped_RunTimeErrorUnknown
  semihosting_call(SYS_EXIT, (const void*)(uintptr_t)(well ? normal : error));
  for (;;) {
  }
}

static inline int32_t semihosting_open(const char* name, size_t length, int32_t mode) {
  const uint32_t arguments[] = {(uint32_t)(uintptr_t)name, (uint32_t)mode, (uint32_t)length};
  return semihosting_call(SYS_OPEN, arguments);
}

static inline void semihosting_close(int32_t file) {
  const uint32_t arguments[] = {(uint32_t)file};
  semihosting_call(SYS_CLOSE, arguments);
}

// How many bytes were not read or written.
static inline int32_t semihosting_move(int32_t operation, int32_t file, const void* data, size_t bytes) {
  const uint32_t arguments[] = {(uint32_t)file, (uint32_t)(uintptr_t)data, (uint32_t)bytes};
  return semihosting_call(operation, arguments);
}

#ifdef __cplusplus
}
#endif

#endif  // TF_STRUCTPRUNE_SEMIHOSTING_H_
