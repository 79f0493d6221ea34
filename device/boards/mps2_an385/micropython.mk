ifeq ($(USERMOD_DIR),$(BOARD_DIR))
SRC_USERMOD_C += $(USERMOD_DIR)/board.c $(USERMOD_DIR)/lan9118.c $(USERMOD_DIR)/nonvolatile.c
endif
