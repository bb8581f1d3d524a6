typedef struct csc_sim_cs1 csc_sim_cs1_t;

size_t csc_sim_cs1_sizeof(void);
void csc_sim_cs1_init(csc_sim_cs1_t *sim);
void csc_sim_cs1_reset(csc_sim_cs1_t *sim, uint64_t clocks);
uint32_t csc_sim_cs1_read(csc_sim_cs1_t *sim, uint32_t offset);
void csc_sim_cs1_write(csc_sim_cs1_t *sim, uint32_t offset, uint32_t value);
void csc_sim_cs1_step(csc_sim_cs1_t *sim, uint64_t clocks);
int csc_sim_cs1_irq(const csc_sim_cs1_t *sim);
uint64_t csc_sim_cs1_clock(const csc_sim_cs1_t *sim);
