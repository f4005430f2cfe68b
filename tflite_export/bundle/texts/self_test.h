// A test of the model in ${name}_data.cc on the device that it runs on. Written by tf-structprune with that file.
#ifndef ${macro}_SELF_TEST_H_
#define ${macro}_SELF_TEST_H_

#include "tensorflow/lite/micro/micro_interpreter.h"

// Whether the bytes of the model are those of the exported file, by their CRC-32; prints FAIL where they are not. It
// reads nothing else: call it before TFLite Micro reads the model, which trusts what it reads.
bool ${name}_data_is_whole();

// Looks at the bytes of the model as above, then runs ${samples} recorded samples and compares the outputs with those of
// LiteRT's reference kernels. They may differ
// ${allowed}.
// Prints PASS or FAIL for the bytes, and for each output with the largest difference. Returns how many samples failed;
// all did where the bytes are others, for then none is run. Call it after AllocateTensors(); it leaves the last sample
// in the inputs. The samples take ${bytes} bytes of flash, and none where nothing calls it and the linker drops what is
// not used (--gc-sections).
int ${name}_self_test(tflite::MicroInterpreter& interpreter);

#endif  // ${macro}_SELF_TEST_H_
