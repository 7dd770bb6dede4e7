/* What is behind keys and scratches of AH. */
#ifndef PBS_AH_KEY_H
#define PBS_AH_KEY_H

#include "ah-cover.h"
#include "mac.h"
#include "signature.h"
#include "tree-cache.h"

enum ah_kind { AH_KIND_MAC, AH_KIND_SIGNATURE, AH_KIND_TREE };

struct ah_key {
  enum ah_algorithm algorithm;
  enum ah_kind kind;
  size_t icv_length; /* of a tree: of the signature in it */
  struct mac_key *mac;
  struct signature_key *signature;
  struct tree_cache *roots;
};

struct ah_scratch {
  struct mac_scratch *mac;
  struct signature_scratch *signature;
  struct ah_cover cover;
  struct tree tree;
};

enum ah_kind ah_kind_of(enum ah_algorithm algorithm);

/* Bytes of the ICV, without padding. */
size_t ah_icv_length(enum ah_algorithm algorithm, unsigned packets);

#endif
