/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What attach.c needs from create.c.
 */
#pragma once

#include "segment/segment.h"

/* The descriptor of the runtime directory, made if need be; or negative errno and a message. */
int runtime_directory_open(const Place *place, char *message);
