// load.c: header, sections and their CRCs (SPEC.md, section 4, rules 1 to 3).

#include "check.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "a blob is read in place: CSC runs on little-endian machines only"
#endif

#define SECTIONS 5u  // that every blob has

#define MINOR_PLAN 1u     // the version that brought plans
#define MINOR_ENTRIES 2u  // and the one that brought entries, which is used by blobs with entries

typedef struct {
  const uint8_t *bytes;
  const csc_blob_header_t *header;
  const csc_blob_section_t *sections;  // [header->section_count]
} blob_t;

#define HEADER_FIELD(name) ((uint32_t)offsetof(csc_blob_header_t, name))

static int is_equal(const uint8_t *a, const uint8_t *b, size_t count) {
  uint8_t differ = 0;
  for (size_t i = 0; i < count; i++) differ |= a[i] ^ b[i];
  return differ == 0;
}

static csc_status_t check_identity(blob_t blob, size_t bytes, csc_error_t *error) {
  static const uint8_t magic[8] = CSC_BLOB_MAGIC;
  const csc_blob_header_t *header = blob.header;
  if (!is_equal(header->magic, magic, sizeof magic)) {
    return csc_fail(error, CSC_ERR_MAGIC, 0, 0, 0, 0);
  }
  uint32_t version = 65536u * header->version_major + header->version_minor;
  uint32_t known = 65536u * CSC_BLOB_VERSION_MAJOR + CSC_BLOB_VERSION_MINOR;
  if (header->version_major != CSC_BLOB_VERSION_MAJOR || version > known) {
    return csc_fail(error, CSC_ERR_VERSION, 0, 0, known, version);
  }
  if (header->file_bytes != bytes) {
    return csc_fail(error, CSC_ERR_TRUNCATED, 0, 0, header->file_bytes, (int64_t)bytes);
  }
  return CSC_OK;
}

static csc_status_t check_header_crc(blob_t blob, csc_error_t *error) {
  static const uint8_t zero[4] = {0};
  uint32_t field = HEADER_FIELD(header_crc);
  uint32_t after = field + 4u;
  uint32_t crc = csc_crc32(0, blob.bytes, field);
  crc = csc_crc32(crc, zero, sizeof zero);
  crc = csc_crc32(crc, blob.bytes + after, CSC_HEADER_BYTES - after);
  if (crc == blob.header->header_crc) return CSC_OK;
  return csc_fail(error, CSC_ERR_HEADER_CRC, 0, 0, crc, blob.header->header_crc);
}

static int is_zero(const uint8_t *bytes, size_t count) {
  uint8_t any = 0;
  for (size_t i = 0; i < count; i++) any |= bytes[i];
  return any == 0;
}

static int has_entries(blob_t blob) { return blob.header->version_minor >= MINOR_ENTRIES; }

// Is the number of sections one that the version allows?
static int is_known_count(blob_t blob) {
  uint32_t least = SECTIONS + (has_entries(blob) ? 1 : 0);
  uint32_t most = least + (blob.header->version_minor >= MINOR_PLAN ? 1 : 0);
  return blob.header->section_count >= least && blob.header->section_count <= most;
}

// Returns the offset of the first bad one of the fields about entries, or 0.
static uint32_t bad_entry_field(blob_t blob) {
  const csc_blob_header_t *header = blob.header;
  if (!has_entries(blob)) {
    if (header->context) return HEADER_FIELD(context);
    return header->entry_count ? HEADER_FIELD(entry_count) : 0;
  }
  if (header->context - 1 >= CSC_MAX_LENGTH) return HEADER_FIELD(context);
  // each entry has an op of its own
  return header->entry_count - 1 >= header->op_count ? HEADER_FIELD(entry_count) : 0;
}

// Returns the offset of the first bad header field, or 0 (the magic has been checked).
static uint32_t bad_header_field(blob_t blob) {
  const csc_blob_header_t *header = blob.header;
  if (!is_known_count(blob)) return HEADER_FIELD(section_count);
  uint32_t count = header->section_count;
  uint32_t table_end = (uint32_t)(sizeof *header + count * sizeof(csc_blob_section_t));
  if (header->op_count - 1 >= CSC_MAX_OPS) return HEADER_FIELD(op_count);
  if (header->tensor_count - 1 >= CSC_MAX_TENSORS) return HEADER_FIELD(tensor_count);
  if (header->max_length - 1 >= CSC_MAX_LENGTH) return HEADER_FIELD(max_length);
  if (!is_zero((const uint8_t *)header->reserved, sizeof header->reserved)) {
    return HEADER_FIELD(reserved);
  }
  if (!is_zero(blob.bytes + table_end, CSC_HEADER_BYTES - table_end)) return table_end;
  return bad_entry_field(blob);
}

// The kind of the section at a place of the table.
static uint32_t kind_at(blob_t blob, uint32_t place) {
  if (place < SECTIONS) return place + 1;
  int is_last = place == blob.header->section_count - 1;
  return is_last && has_entries(blob) ? CSC_SECTION_ENTRIES : CSC_SECTION_PLAN;
}

static uint32_t up_align(uint32_t bytes) { return (bytes + CSC_ALIGN - 1) & ~(CSC_ALIGN - 1u); }

// The size of a section that holds so many records; 0 where it may have any.
static uint32_t exact_bytes(blob_t blob, uint32_t kind) {
  const csc_blob_header_t *header = blob.header;
  switch (kind) {  // counts are limited, so the products cannot wrap
    case CSC_SECTION_OPS: return up_align(header->op_count * (uint32_t)sizeof(csc_blob_op_t));
    case CSC_SECTION_TENSORS:
      return up_align(header->tensor_count * (uint32_t)sizeof(csc_blob_tensor_t));
    case CSC_SECTION_ENTRIES:
      return up_align(header->entry_count * (uint32_t)sizeof(csc_blob_entry_t));
    default: return 0;
  }
}

static csc_status_t check_sections(blob_t blob, csc_error_t *error) {
  uint32_t end = CSC_HEADER_BYTES;
  uint32_t kind = 0;
  for (uint32_t i = 0; i < blob.header->section_count; i++) {
    const csc_blob_section_t *section = &blob.sections[i];
    kind = kind_at(blob, i);
    uint32_t exact = exact_bytes(blob, kind);
    int fits = section->kind == kind && section->offset == end && section->bytes % CSC_ALIGN == 0 &&
               section->bytes <= blob.header->file_bytes - end;
    if (!fits || (exact && section->bytes != exact)) {
      return csc_fail(error, CSC_ERR_SECTION, kind, 0, 0, 0);
    }
    end += section->bytes;
  }
  if (end == blob.header->file_bytes) return CSC_OK;
  return csc_fail(error, CSC_ERR_SECTION, kind, 0, blob.header->file_bytes, end);
}

static csc_status_t check_section_crcs(blob_t blob, csc_error_t *error) {
  for (uint32_t i = 0; i < blob.header->section_count; i++) {
    const csc_blob_section_t *section = &blob.sections[i];
    uint32_t crc = csc_crc32(0, blob.bytes + section->offset, section->bytes);
    if (crc != section->crc) {
      return csc_fail(error, CSC_ERR_SECTION_CRC, section->kind, 0, crc, section->crc);
    }
  }
  return CSC_OK;
}

static csc_status_t check_file(blob_t blob, size_t bytes, csc_error_t *error) {
  csc_status_t status = check_identity(blob, bytes, error);
  if (!status) status = check_header_crc(blob, error);
  if (status) return status;
  uint32_t field = bad_header_field(blob);
  if (field) return csc_fail(error, CSC_ERR_HEADER, field, 0, 0, 0);
  status = check_sections(blob, error);
  return status ? status : check_section_crcs(blob, error);
}

// The section of a kind; null where the blob has none.
static const csc_blob_section_t *find_section(blob_t blob, csc_section_t kind) {
  for (uint32_t i = 0; i < blob.header->section_count; i++) {
    if (blob.sections[i].kind == (uint32_t)kind) return &blob.sections[i];
  }
  return NULL;
}

static const void *section_start(blob_t blob, csc_section_t kind) {
  const csc_blob_section_t *section = find_section(blob, kind);
  return section ? blob.bytes + section->offset : NULL;
}

static uint32_t section_bytes(blob_t blob, csc_section_t kind) {
  const csc_blob_section_t *section = find_section(blob, kind);
  return section ? section->bytes : 0;
}

static csc_status_t check_content(const csc_model_t *model, blob_t blob, csc_error_t *error) {
  uint32_t strings = section_bytes(blob, CSC_SECTION_STRINGS);
  if (strings == 0 || model->strings[strings - 1] != 0) {
    return csc_fail(error, CSC_ERR_SECTION, CSC_SECTION_STRINGS, 0, 0, 0);
  }
  uint32_t weights = section_bytes(blob, CSC_SECTION_WEIGHTS);
  csc_status_t status = csc_check_entries(model, strings, error);
  if (!status) status = csc_check_tensors(model, strings, weights, error);
  if (!status) status = csc_check_ops(model, strings, error);
  if (!status) status = csc_check_data_flow(model, error);
  if (status || !model->plan) return status;
  return csc_check_plan(model, section_bytes(blob, CSC_SECTION_PLAN), error);
}

csc_status_t csc_load_model(csc_model_t *model, const void *bytes, size_t count,
                            csc_error_t *error) {
  if (!model || !bytes) return csc_fail(error, CSC_ERR_ARGUMENT, 0, 0, 0, 0);
  if (count < CSC_HEADER_BYTES) {
    return csc_fail(error, CSC_ERR_TRUNCATED, 0, 0, CSC_HEADER_BYTES, (int64_t)count);
  }
  if ((uintptr_t)bytes % CSC_ALIGN) return csc_fail(error, CSC_ERR_ALIGNMENT, 0, 0, CSC_ALIGN, 0);
  blob_t blob = {bytes, bytes, NULL};
  blob.sections = (const void *)(blob.bytes + sizeof(csc_blob_header_t));
  csc_status_t status = check_file(blob, count, error);
  if (status) return status;
  csc_model_t view = {
      .header = blob.header,
      .ops = section_start(blob, CSC_SECTION_OPS),
      .tensors = section_start(blob, CSC_SECTION_TENSORS),
      .strings = section_start(blob, CSC_SECTION_STRINGS),
      .metadata = section_start(blob, CSC_SECTION_METADATA),
      .weights = section_start(blob, CSC_SECTION_WEIGHTS),
      .plan = section_start(blob, CSC_SECTION_PLAN),
      .entries = section_start(blob, CSC_SECTION_ENTRIES),
      .metadata_bytes = section_bytes(blob, CSC_SECTION_METADATA),
      .weights_bytes = section_bytes(blob, CSC_SECTION_WEIGHTS),
  };
  *model = view;
  return check_content(model, blob, error);
}
