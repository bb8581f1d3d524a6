#include "check.h"

csc_status_t csc_fail(csc_error_t *error, csc_status_t status, uint32_t index, uint32_t item,
                      int64_t need, int64_t have) {
  csc_error_t filled = {status, index, item, need, have};
  if (error) *error = filled;
  return status;
}

const char *csc_status_name(csc_status_t status) {
  switch (status) {
    case CSC_OK: return "CSC_OK";
    case CSC_ERR_ARGUMENT: return "CSC_ERR_ARGUMENT";
    case CSC_ERR_ALIGNMENT: return "CSC_ERR_ALIGNMENT";
    case CSC_ERR_TRUNCATED: return "CSC_ERR_TRUNCATED";
    case CSC_ERR_MAGIC: return "CSC_ERR_MAGIC";
    case CSC_ERR_VERSION: return "CSC_ERR_VERSION";
    case CSC_ERR_HEADER_CRC: return "CSC_ERR_HEADER_CRC";
    case CSC_ERR_SECTION_CRC: return "CSC_ERR_SECTION_CRC";
    case CSC_ERR_HEADER: return "CSC_ERR_HEADER";
    case CSC_ERR_SECTION: return "CSC_ERR_SECTION";
    case CSC_ERR_TENSOR: return "CSC_ERR_TENSOR";
    case CSC_ERR_OP: return "CSC_ERR_OP";
    case CSC_ERR_OPERAND: return "CSC_ERR_OPERAND";
    case CSC_ERR_WEIGHTS: return "CSC_ERR_WEIGHTS";
    case CSC_ERR_DATA_FLOW: return "CSC_ERR_DATA_FLOW";
    case CSC_ERR_ARENA: return "CSC_ERR_ARENA";
    case CSC_ERR_LENGTH: return "CSC_ERR_LENGTH";
    case CSC_ERR_TOKEN: return "CSC_ERR_TOKEN";
    case CSC_ERR_BUS: return "CSC_ERR_BUS";
    case CSC_ERR_CHIP_TIMEOUT: return "CSC_ERR_CHIP_TIMEOUT";
    case CSC_ERR_CHIP_EARLY: return "CSC_ERR_CHIP_EARLY";
    case CSC_ERR_CHIP_COMMAND: return "CSC_ERR_CHIP_COMMAND";
    case CSC_ERR_PLAN: return "CSC_ERR_PLAN";
    case CSC_ERR_ENTRY: return "CSC_ERR_ENTRY";
    case CSC_ERR_NO_ENTRY: return "CSC_ERR_NO_ENTRY";
    case CSC_ERR_POSITION: return "CSC_ERR_POSITION";
  }
  return "unknown status";
}
