//! Running the XDP program on a frame that is on no wire.

use aya::programs::{TestRun as _, TestRunOptions, Xdp};

use super::object::XDP;
use super::{DataPath, DataPathError};

/// Bytes by which a program may lengthen a frame here.
const GROWTH: usize = 256;

impl DataPath {
    /// Runs the XDP program on `frame` (`BPF_PROG_TEST_RUN`), in the calling
    /// thread's network namespace; nothing is sent. Returns the program's
    /// `XDP_*` code and leaves what became of the frame in `result`.
    ///
    /// Of the frame `linear` bytes stand in the first buffer, or as many as a
    /// page holds, the rest in others. A kernel before 6.18 refuses a `linear`
    /// that is not the frame's length.
    ///
    /// # Errors
    /// The program is not loaded, or the kernel refuses to run it: a frame
    /// must have the 14 bytes of an Ethernet header.
    pub fn test_run(
        &self,
        frame: &[u8],
        linear: usize,
        result: &mut Vec<u8>,
    ) -> Result<u32, DataPathError> {
        let failed = |reason: String| DataPathError::TestRun(reason);
        let program: &Xdp = self
            .ebpf
            .program(XDP)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| failed("it is not in the object".to_owned()))?;
        // `struct xdp_md`: data, data_end and four fields that stay 0.
        let mut context = [0_u8; 24];
        if let Some((_, data_end)) = context.split_first_chunk_mut::<4>()
            && let Some(data_end) = data_end.first_chunk_mut::<4>()
        {
            *data_end = (linear as u32).to_ne_bytes();
        }
        result.clear();
        result.resize(frame.len() + GROWTH, 0);
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(result),
            ctx_in: (linear != frame.len()).then_some(&context),
            ..TestRunOptions::default()
        };
        let run = program
            .test_run(options)
            .map_err(|error| failed(super::error::one_line(&error)))?;
        result.truncate(run.data_size_out as usize);
        Ok(run.return_value)
    }
}
