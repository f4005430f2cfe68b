"""Matrices in few bits and without loss: encode, decode, size, bound, and products on the stored form."""

from tf_structprune.storage._archive import Packed as Packed
from tf_structprune.storage._archive import load as load
from tf_structprune.storage._archive import save as save
from tf_structprune.storage._encoded import Encoded as Encoded
from tf_structprune.storage._encoded import Facts as Facts
from tf_structprune.storage._encoded import Format as Format
from tf_structprune.storage._floor import floor_bits as floor_bits
from tf_structprune.storage._formats import FORMATS as FORMATS
from tf_structprune.storage._formats import smallest as smallest
from tf_structprune.storage._gaps import Gaps as Gaps
from tf_structprune.storage._ham import HAM as HAM
from tf_structprune.storage._ham import SHAM as SHAM
from tf_structprune.storage._huffman import Code as Code
from tf_structprune.storage._huffman import huffman as huffman
from tf_structprune.storage._plain import COO as COO
from tf_structprune.storage._plain import CSC as CSC
from tf_structprune.storage._plain import CSER as CSER
from tf_structprune.storage._plain import CSR as CSR
from tf_structprune.storage._plain import Dense as Dense
from tf_structprune.storage._plain import IndexMap as IndexMap
from tf_structprune.storage._words import as_matrix as as_matrix
