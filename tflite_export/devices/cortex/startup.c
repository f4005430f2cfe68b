// Startup of a Cortex-M under QEMU: vectors, memory, floating-point unit, a stack whose use is seen, a clock of 24 bits
// and its overflows.
#include <stdint.h>

#include "semihosting.h"

extern uint32_t data_start, data_end, data_load, bss_start, bss_end, arena_end, stack_top;
extern void (*__preinit_array_start[])(void), (*__init_array_end[])(void);
int main(void);
void* __dso_handle = 0;  // what the compiler registers destructors with, which never run

#define REGISTER(address) (*(volatile uint32_t*)(address))
#define CPACR REGISTER(0xE000ED88)
#define SYSTICK_CONTROL REGISTER(0xE000E010)
#define SYSTICK_RELOAD REGISTER(0xE000E014)
#define SYSTICK_VALUE REGISTER(0xE000E018)
#define FAULTS REGISTER(0xE000ED28)
#define FULL_ACCESS (0xFu << 20)
#define LARGEST_TICK 0xFFFFFFu
#define PROCESSOR_CLOCK_INTERRUPT_ENABLE 7u
#define UNTOUCHED 0x5AFEC0DEu

static volatile uint32_t overflows;

static void clock_overflow(void) { ++overflows; }

void clock_start(void) {
  SYSTICK_RELOAD = LARGEST_TICK;
  SYSTICK_VALUE = 0;
  SYSTICK_CONTROL = PROCESSOR_CLOCK_INTERRUPT_ENABLE;
}

uint64_t clock_ticks(void) {
  uint32_t before, value, after;
  do {
    before = overflows;
    value = SYSTICK_VALUE;
    after = overflows;
  } while (before != after);
  return (uint64_t)before * (LARGEST_TICK + 1u) + (LARGEST_TICK - value);
}

// Bytes between the top of the stack and the deepest word that anything has written.
uint32_t stack_used(void) {
  const uint32_t* deepest = &arena_end;
  while (deepest < &stack_top && *deepest == UNTOUCHED) ++deepest;
  return (uint32_t)((const char*)&stack_top - (const char*)deepest);
}

static void fault(void) {
  // Bit 16 of the fault status: an instruction that this core lacks.
  semihosting_print((FAULTS >> 16) & 1u ? "fault: an instruction that the core lacks\n" : "fault\n");
  semihosting_exit(0);
}

static void reset(void) {
  CPACR |= FULL_ACCESS;
  __asm volatile("dsb\n isb" ::: "memory");
  for (uint32_t *to = &data_start, *from = &data_load; to < &data_end;) *to++ = *from++;
  for (uint32_t* to = &bss_start; to < &bss_end;) *to++ = 0;
  uint32_t* own = __builtin_frame_address(0);
  for (uint32_t* to = &arena_end; to < own - 16; ++to) *to = UNTOUCHED;
  for (void (**each)(void) = __preinit_array_start; each < __init_array_end; ++each) (*each)();
  semihosting_exit(main() == 0);
}

typedef union {
  void (*handler)(void);
  void* stack;
} Vector;

__attribute__((section(".vectors"), used)) static const Vector vectors[16] = {
    {.stack = &stack_top},  {.handler = reset}, {.handler = fault}, {.handler = fault},
    {.handler = fault},     {.handler = fault}, {.handler = fault}, {.handler = fault},
    {.handler = 0},         {.handler = 0},     {.handler = 0},     {.handler = fault},
    {.handler = fault},     {.handler = 0},     {.handler = fault}, {.handler = clock_overflow},
};
