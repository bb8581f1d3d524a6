typedef struct csc_sim_cs2 csc_sim_cs2_t;

typedef struct {
  uint32_t sram_bytes;
  uint32_t array;
  uint32_t lanes;
  uint32_t ext_bytes_per_clock;
  uint32_t ext_latency;
  uint32_t ext_burst;
} csc_sim_cs2_config_t;

csc_sim_cs2_config_t csc_sim_cs2_published(void);

typedef struct {
  uint64_t hang_command;
  uint64_t change_command;
  uint32_t change_word;
  uint32_t change_mask;
  uint64_t external_error;
  uint64_t lose_doorbell_at;
} csc_sim_cs2_faults_t;

typedef struct {
  uint64_t dispatched;
  uint64_t ready;
  uint64_t started;
  uint64_t completed;
  uint32_t number;
  uint32_t tag;
  uint32_t code;
  uint32_t engine;
  uint32_t waited_for;
  uint32_t stall_bank;
  uint32_t stall_bus;
  uint32_t stall_drain;
} csc_sim_cs2_event_t;

typedef struct {
  uint64_t clocks;
  uint64_t macs;
  uint64_t drained;
  uint64_t lane_steps;
  uint64_t line_reads;
  uint64_t line_writes;
  uint64_t conflicts;
  uint64_t ext_read;
  uint64_t ext_written;
  uint64_t ext_bursts;
  uint64_t ext_busy;
  uint64_t commands;
  uint64_t busy[3];
  uint64_t wait[3];
  uint64_t stall_bank[3];
  uint64_t stall_bus[3];
  uint64_t stall_drain[3];
} csc_sim_cs2_totals_t;

size_t csc_sim_cs2_sizeof(const csc_sim_cs2_config_t *config);
void csc_sim_cs2_init(csc_sim_cs2_t *sim, const csc_sim_cs2_config_t *config, uint8_t *external,
                      uint32_t external_bytes);
void csc_sim_cs2_reset(csc_sim_cs2_t *sim, uint64_t clocks);
uint32_t csc_sim_cs2_read(csc_sim_cs2_t *sim, uint32_t offset);
void csc_sim_cs2_write(csc_sim_cs2_t *sim, uint32_t offset, uint32_t value);
void csc_sim_cs2_step(csc_sim_cs2_t *sim, uint64_t clocks);
uint32_t csc_sim_cs2_irq(const csc_sim_cs2_t *sim);
uint64_t csc_sim_cs2_clock(const csc_sim_cs2_t *sim);
uint32_t csc_sim_cs2_sram_access(csc_sim_cs2_t *sim, uint32_t offset, uint32_t strobes,
                                 uint32_t data);
uint32_t csc_sim_cs2_external_access(csc_sim_cs2_t *sim, uint32_t offset, uint32_t strobes,
                                     uint32_t data);
uint8_t *csc_sim_cs2_sram(csc_sim_cs2_t *sim);
csc_sim_cs2_faults_t *csc_sim_cs2_faults(csc_sim_cs2_t *sim);
void csc_sim_cs2_totals(const csc_sim_cs2_t *sim, csc_sim_cs2_totals_t *totals);
void csc_sim_cs2_trace(csc_sim_cs2_t *sim, csc_sim_cs2_event_t *events, size_t room);
size_t csc_sim_cs2_traced(const csc_sim_cs2_t *sim);
size_t csc_sim_cs2_trace_lost(const csc_sim_cs2_t *sim);
