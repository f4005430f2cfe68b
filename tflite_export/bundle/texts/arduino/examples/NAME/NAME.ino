// Tests the model on recorded samples, then runs one inference; main.cpp beside this file has the program.
#ifndef ARDUINO_ARCH_ESP32  // whose core has TFLite Micro
#include <TensorFlowLite.h>
#endif
#include <${name}_data.h>

int ${name}_run();

void setup() {
  ${name}_run();
}

void loop() {}
