/* The prompt's commands, in the order in which help lists them. To add one, write a row here and its function do_NAME
 * in commands/; help, completion, prototype and the check of arguments follow from the row (struct repl_command). This
 * file is included several times, each time with another COMMAND. */
COMMAND(run, .args = "[N]", .max = 1, .runs = true, .example = "run 1",
        .help = "Run from position 0: all tokens, or N of them. The whole prompt counts as one token")
COMMAND(step, .args = "[op|layer|token] [N]", .max = 2, .runs = true, .repeats = true,
        .completion = "op layer:<layers> token", .example = "step layer 17",
        .help =
            "Run N ops; or to the end of the layer, or of layer N; or N tokens, of which the whole prompt counts as "
            "one. Both sides run, and each stage is audited")
COMMAND(next, .args = "[N]", .max = 1, .runs = true, .repeats = true, .example = "next 2",
        .help = "Step over a layer: run to the end of the layer, N times. What lies before and after the layers counts "
                "as one")
COMMAND(back, .args = "[op|layer|token] [N]", .max = 2, .repeats = true, .completion = "op layer:<layers> token",
        .example = "back token 1",
        .help =
            "Go back N ops; or to the start of the layer, or to the end of layer N; or N tokens, of which the whole "
            "prompt counts as one. Recorded state is restored; nothing is recomputed")
COMMAND(goto, .args = "LAYER[.STAGE] [TOKEN]", .min = 1, .max = 2, .runs = true, .completion = "<places>",
        .example = "goto 17.ffn_down 5",
        .help = "Go, back or forward, to just after LAYER.STAGE, or all of LAYER, ran: in the current batch, or in "
                "TOKEN's")
COMMAND(continue, .runs = true, .repeats = true, .help = "Run all remaining tokens and print one line for each batch")
COMMAND(until, .args = "diverge", .min = 1, .max = 1, .runs = true, .repeats = true, .completion = "diverge",
        .help = "Run until a step introduces an error, go to it, and print what diff says; again: the next one")
COMMAND(break, .args = "LAYER.STAGE [if nan|maxabs>X|ratio>X] | diverge", .min = 1, .max = 5,
        .completion = "<places> diverge / if if:<conditions>", .example = "break 17.ffn_down if maxabs>100",
        .help = "Stop each time LAYER.STAGE ran and the condition holds; or after any step that introduces an error")
COMMAND(delete, .args = "[N]", .max = 1, .help = "Delete breakpoint N, or all")
COMMAND(where, .help = "Show the position: the tokens, and the stage that runs next")
COMMAND(list, .args = "[N]", .max = 1, .repeats = true,
        .help =
            "List the N steps around the position (10): what ran, what runs next, each step's op, width and inputs. "
            "An empty line lists the next ones")
COMMAND(restart, .args = "[--prompt TEXT | --chat FILE | --ids 1,2,3] [-n N]", .max = 4,
        .completion = "--prompt --chat --ids -n", .example = "restart --prompt \"The color of the sky is\" -n 8",
        .help = "Start again at position 0, with the same tokens, or with a new prompt and N decoded tokens")
COMMAND(print, .args = "STAGE[@LAYER] [token] [dim|dim:dim] [from engine|reference|golden]", .min = 1, .max = 5,
        .completion = "<stages> / from", .example = "print ffn_down@17 5 330:338",
        .help = "Print values of one row. Dims 3:7 are 3 to 6; token -1 is the last one")
COMMAND(stats, .args = "STAGE[@LAYER]", .min = 1, .max = 1, .completion = "<stages>", .example = "stats layer_out@17",
        .help = "Print minimum, maximum, mean, rms, share of positive values, number of nonfinite values and the ten "
                "largest dims, over all rows")
COMMAND(growth, .args = "[STAGE] [TOKEN]", .max = 2, .completion = "<stages>", .example = "growth layer_out -1",
        .help =
            "Show the largest values and the rms of a stage (layer_out) by layer, each side beside the others: where "
            "one grows as the others do not. TOKEN: of that position alone")
COMMAND(diff, .args = "[STAGE[@LAYER]]", .max = 1, .completion = "<stages>", .example = "diff ffn_down@17",
        .help = "Show where the sides differ: all stages, one stage by layer, or one stage of one layer by token")
COMMAND(first, .help = "Show the first error that a step introduced, and the known bug that explains it")
COMMAND(audit, .args = "[STAGE@LAYER]", .max = 1, .completion = "<stages>", .example = "audit ffn_down@17",
        .help = "Recompute every recorded row from its own inputs: of all stages, or of one")
COMMAND(assert, .args = "parity | STAGE[@LAYER] ratio < X", .min = 1, .max = 4, .completion = "parity <stages> / ratio",
        .example = "assert ffn_down@17 ratio < 1",
        .help = "Fail, with exit status 1 in a script, unless all that the golden has is parity, as diff judges it; or "
                "unless the worst audit ratio of a stage so far is below X")
COMMAND(diagnose, .help = "Show every introduced error, the known bug that explains it, and what to try next")
COMMAND(
    logits, .args = "[K] | of TEXT…", .max = MAX_WORDS, .completion = "of /", .example = "logits of \" blue\" id:253",
    .help = "Show each side's K likeliest next tokens (5); or logit, rank and probability of the tokens of TEXT, or "
            "of a token id like id:253")
COMMAND(probe, .args = "add JSON | load FILE", .min = 1, .max = 1, .raw = true, .completion = "add load:<files>",
        .example = "probe add {\"stage\": \"layer_out\", \"layers\": [17], \"dims\": [334]}",
        .help = "Print chosen values each time their stage runs. JSON's keys: id, stage, layers, tokens, dims")
COMMAND(probes, .help = "List the probes")
COMMAND(trace, .args = "LIST", .min = 1, .max = MAX_WORDS, .completion = "<categories> all none",
        .example = "trace all -buffers",
        .help =
            "Print TRACE lines of these categories: attn ffn logits kernels kv sample loader buffers, or all. -NAME "
            "takes one out; none ends them")
COMMAND(log, .args = "silent|info|verbose", .min = 1, .max = 1, .completion = "silent info verbose",
        .help = "Set the log level")
COMMAND(dump, .args = "FILE.h5 [STAGES] [from engine|reference|golden]", .min = 1, .max = 4,
        .completion = "<files> / <stages> from", .example = "dump part.h5 layer_out,ffn_down from reference",
        .help = "Write what was recorded to a trace file")
COMMAND(
    load, .args = "golden FILE | hf FOLDER [float32|float16|bfloat16]", .min = 2, .max = 3, .streams = true,
    .completion = "golden:<files> hf:<files>",
    .help = "Load a golden: from a file, or recorded now by transformers on the run's tokens, in float32 by default")
COMMAND(patch, .args = "STAGE@LAYER from reference|golden|FILE | STAGE@LAYER scale X", .min = 3, .max = 3,
        .completion = "<stages> / from scale", .example = "patch ffn_down@17 from reference",
        .help = "Replace a stage's rows each time it runs. If it has already run, the position goes back to before it")
COMMAND(unpatch, .args = "[STAGE@LAYER]", .max = 1, .completion = "<stages>", .help = "Remove all patches, or one")
COMMAND(fault, .args = "on|off NAME[@LAYER[.STAGE]]", .min = 2, .max = 2, .completion = "on:<faults> off:<faults>",
        .example = "fault on qk-norm-no-offset@3", .help = "Plant a known bug in the engine, or take it out")
COMMAND(faults, .args = "[NAME]", .max = 1, .completion = "<faults>", .help = "List the known bugs, or describe one")
COMMAND(reload, .args = "shaders", .min = 1, .max = 1, .streams = true, .completion = "shaders",
        .help = "Compile the GLSL again, from the folder that show names, run all again with it as far as the position "
                "goes, and repeat the last step. Model, tokens and position stay")
COMMAND(watch, .args = "shaders [N]", .min = 1, .max = 2, .streams = true, .completion = "shaders",
        .help = "Each time a GLSL file is saved, compile it, run all again as far as the position goes, and print what "
                "changed in the verdict; until Ctrl-C, or until N saves compiled")
COMMAND(
    set, .args = "device|shaders|decode|width|pager|layers|preset|fuse|errors VALUE | kernel [STAGE KERNEL|auto]",
    .min = 1, .max = 3,
    .completion = "device shaders decode width pager layers preset fuse errors kernel / shaders:<files> pager:<switch> "
                  "layers:<layers> preset:<presets> fuse:<switch> errors:<errors> kernel:<stages>",
    .example = "set layers 3,17",
    .help = "Change a setting that show lists. set layers 3,17 copies only those layers to the host; looking at "
            "another recomputes it. set layers all copies every layer. set fuse off runs each op by itself. "
            "set kernel lists which kernels can make a stage; set kernel STAGE KERNEL has one make it, and runs all "
            "again. set errors continue lets a pipe go on after a command that failed")
COMMAND(show, .help = "Show the settings")
COMMAND(plot, .args = "STAGE[@LAYER] [ratio|difference] [FILE.png]", .min = 1, .max = 3,
        .completion = "<stages> / ratio difference", .example = "plot layer_out",
        .help =
            "Plot in the terminal, or to a PNG: STAGE's rms by layer and token, or STAGE@LAYER's values by token and "
            "dim. ratio plots the audit ratios instead, difference how far the engine is from the golden, or without "
            "one from the reference")
COMMAND(info, .args = "model|device|plan|memory|breakpoints", .min = 1, .max = 1,
        .completion = "model device plan memory breakpoints",
        .help = "Describe the model, the device, the plan's stages, the memory used, or the breakpoints")
COMMAND(py, .args = "CODE", .min = 1, .max = 1, .raw = true, .streams = true,
        .example = "py abs(engine[\"layer_out\", 17]).max()",
        .help =
            "Run Python. engine[\"layer_out\", 17] is a numpy array, as with reference and golden; tokens and model "
            "are there, too")
COMMAND(save, .args = "FILE", .min = 1, .max = 1, .completion = "<files>", .example = "save monday.json",
        .help = "Write the session to a file: model, golden, tokens, position, breakpoints, probes, settings, patches, "
                "faults. resume FILE goes on with it")
COMMAND(resume, .args = "FILE", .min = 1, .max = 1, .completion = "<files>", .example = "resume monday.json",
        .help =
            "Go on with a session that save wrote, in the place of this one: same position, same values. Files that "
            "changed since are refused")
COMMAND(transcript, .args = "[FILE|off]", .max = 1, .completion = "off <files>",
        .help = "From now on, add everything typed and printed to a file; off ends it")
COMMAND(report, .args = "FILE.html|FILE.md", .min = 1, .max = 1, .completion = "<files>", .example = "report bug.html",
        .help = "Write a page of what ran so far, as diff --html and --md write it")
COMMAND(source, .args = "FILE", .min = 1, .max = 1, .streams = true, .completion = "<files>",
        .help = "Run the commands of a file")
COMMAND(help, .args = "[COMMAND|TOPIC]", .max = 1, .completion = "<commands> <topics>", .example = "help move",
        .help = "List the commands, all or a topic's: move, look, judge, change, record, rest; or describe one")
COMMAND(quit, .help = "End the program")
