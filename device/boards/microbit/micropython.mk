ifeq ($(USERMOD_DIR),$(BOARD_DIR))
SRC_USERMOD_C += $(USERMOD_DIR)/board.c
endif
