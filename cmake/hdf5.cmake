# HDF5 is linked statically and its symbols are hidden: the h5py wheel brings an HDF5 of its own into the
# embedded interpreter, and with a shared libhdf5 the dynamic linker would bind its calls to ours.
find_path(HDF5_INCLUDE_DIR hdf5.h PATH_SUFFIXES hdf5/serial REQUIRED)
find_library(HDF5_ARCHIVE libhdf5.a PATH_SUFFIXES hdf5/serial REQUIRED)
find_library(SZ_ARCHIVE NAMES libsz.a sz REQUIRED)
find_library(AEC_ARCHIVE NAMES libaec.a aec REQUIRED)
find_package(ZLIB REQUIRED)
find_package(CURL REQUIRED)

# What the archive itself needs comes after it on the linker's command line.
add_library(lockstep_hdf5_archive STATIC IMPORTED)
set_target_properties(lockstep_hdf5_archive PROPERTIES IMPORTED_LOCATION ${HDF5_ARCHIVE}
  INTERFACE_LINK_LIBRARIES "${SZ_ARCHIVE};${AEC_ARCHIVE};ZLIB::ZLIB;CURL::libcurl;OpenSSL::Crypto;m;${CMAKE_DL_LIBS}")

add_library(lockstep_hdf5 INTERFACE)
target_include_directories(lockstep_hdf5 SYSTEM INTERFACE ${HDF5_INCLUDE_DIR})
target_link_libraries(lockstep_hdf5 INTERFACE lockstep_hdf5_archive)
target_link_options(lockstep_hdf5 INTERFACE -Wl,--exclude-libs,ALL)
