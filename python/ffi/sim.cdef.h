typedef struct csc_sim_cs1 csc_sim_cs1_t;

size_t csc_sim_cs1_sizeof(void);
void csc_sim_cs1_init(csc_sim_cs1_t *sim);
void csc_sim_cs1_reset(csc_sim_cs1_t *sim, uint64_t clocks);
uint32_t csc_sim_cs1_read(csc_sim_cs1_t *sim, uint32_t offset);
void csc_sim_cs1_write(csc_sim_cs1_t *sim, uint32_t offset, uint32_t value);
void csc_sim_cs1_step(csc_sim_cs1_t *sim, uint64_t clocks);
int csc_sim_cs1_irq(const csc_sim_cs1_t *sim);
uint64_t csc_sim_cs1_clock(const csc_sim_cs1_t *sim);

typedef struct csc_sim_cs2 csc_sim_cs2_t;

typedef struct {
  uint32_t sram_bytes;
  uint32_t array;
  uint32_t lanes;
  uint32_t ext_bytes_per_clock;
  uint32_t ext_latency;
  uint32_t ext_burst;
} csc_sim_cs2_config_t;

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

csc_sim_cs2_config_t csc_sim_cs2_published(void);
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

#define CSC_CS2_QUEUE_CONTROL ...
#define CSC_CS2_QUEUE_STATUS ...
#define CSC_CS2_ERROR ...
#define CSC_CS2_ERROR_COMMAND ...
#define CSC_CS2_ERROR_INFO ...
#define CSC_CS2_ERROR_TAG ...
#define CSC_CS2_QUEUE_BASE ...
#define CSC_CS2_QUEUE_SIZE ...
#define CSC_CS2_QUEUE_HEAD ...
#define CSC_CS2_QUEUE_TAIL ...
#define CSC_CS2_WEIGHTS_BASE ...
#define CSC_CS2_WEIGHTS_BYTES ...
#define CSC_CS2_STORE_BASE ...
#define CSC_CS2_STORE_BYTES ...
#define CSC_CS2_PARAM ...
#define CSC_CS2_WATCHDOG ...

typedef struct csc_sim_soc csc_sim_soc_t;

typedef enum { CSC_SIM_CPU_RV32I, CSC_SIM_CPU_RV32IMC } csc_sim_cpu_t;

typedef struct {
  csc_sim_cpu_t cpu;
  uint32_t ram_bytes;
  uint32_t ram_wait;
} csc_sim_soc_config_t;

#define CSC_SIM_RAM_MAX ...

typedef enum {
  CSC_SIM_STOP_LIMIT,
  CSC_SIM_STOP_EXIT,
  CSC_SIM_STOP_TRAP,
  CSC_SIM_STOP_DRAIN
} csc_sim_stop_kind_t;

typedef enum {
  CSC_SIM_CAUSE_NONE,
  CSC_SIM_CAUSE_ILLEGAL,
  CSC_SIM_CAUSE_ECALL,
  CSC_SIM_CAUSE_EBREAK,
  CSC_SIM_CAUSE_MISALIGNED_LOAD,
  CSC_SIM_CAUSE_MISALIGNED_STORE,
  CSC_SIM_CAUSE_MISALIGNED_JUMP
} csc_sim_cause_t;

typedef struct {
  csc_sim_stop_kind_t kind;
  csc_sim_cause_t cause;
  uint64_t clock;
  uint32_t value;
  uint32_t pc;
} csc_sim_stop_t;

typedef struct {
  uint64_t clock;
  uint32_t address;
  uint32_t strobes;
  uint32_t data;
  ...;
} csc_sim_transfer_t;

typedef struct {
  uint64_t clocks;
  uint64_t instructions;
  uint64_t ram_wait_clocks;
  uint64_t bus_stall_clocks;
  uint64_t engine_runs;
  uint64_t engine_busy_clocks;
  uint64_t reads[...];
  uint64_t writes[...];
} csc_sim_totals_t;

typedef struct {
  uint32_t never_done;
  uint32_t done_after;
  uint64_t change_read_at;
  uint32_t change_read;
  uint32_t change_byte;
  uint64_t change_byte_at;
  uint64_t lose_byte_at;
  uint32_t interrupts;
  ...;
} csc_sim_faults_t;

size_t csc_sim_soc_sizeof(const csc_sim_soc_config_t *config);
void csc_sim_soc_init(csc_sim_soc_t *soc, const csc_sim_soc_config_t *config);
csc_sim_stop_t csc_sim_soc_run(csc_sim_soc_t *soc, uint64_t end_clock);
uint64_t csc_sim_soc_clock(const csc_sim_soc_t *soc);
uint32_t csc_sim_soc_pc(const csc_sim_soc_t *soc);
uint32_t csc_sim_soc_register(const csc_sim_soc_t *soc, uint32_t number);
void csc_sim_soc_totals(csc_sim_soc_t *soc, csc_sim_totals_t *totals);
int csc_sim_soc_load(csc_sim_soc_t *soc, uint32_t address, const uint8_t *bytes, size_t count);
int csc_sim_soc_read(const csc_sim_soc_t *soc, uint32_t address, uint8_t *bytes, size_t count);
size_t csc_sim_soc_uart_output(csc_sim_soc_t *soc, uint8_t *bytes, size_t room);
size_t csc_sim_soc_uart_pending(csc_sim_soc_t *soc, uint8_t *bytes, size_t room);
void csc_sim_soc_uart_input(csc_sim_soc_t *soc, const uint8_t *bytes, size_t count,
                            uint64_t bit_65536);
size_t csc_sim_soc_uart_unsent(csc_sim_soc_t *soc);
uint32_t csc_sim_soc_gpio_out(const csc_sim_soc_t *soc);
void csc_sim_soc_gpio_in(csc_sim_soc_t *soc, uint32_t pins);
uint32_t csc_sim_soc_interrupts(csc_sim_soc_t *soc);
void csc_sim_soc_trace(csc_sim_soc_t *soc, csc_sim_transfer_t *transfers, size_t room);
size_t csc_sim_soc_traced(const csc_sim_soc_t *soc);
csc_sim_faults_t *csc_sim_soc_faults(csc_sim_soc_t *soc);
