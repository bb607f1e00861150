/* help: the commands by topic, and each by itself. */
#include <stdio.h>
#include <string.h>

#include "workbench/debugger/command.h"

/* What a command is for. Those that no topic names belong to the last one. */
static const struct topic {
    const char *name, *what, *commands;
} topics[] = {
    {"move", "move the position", " run step next back goto continue until break delete where list restart "},
    {"look", "look at values", " print stats diff logits plot py growth "},
    {"judge", "find what is wrong, and why", " first audit assert diagnose "},
    {"change", "change the run", " patch unpatch fault faults reload watch set show load "},
    {"record", "write down", " probe probes trace log dump save resume report transcript "},
    {"rest", "the rest", ""},
};
#define N_TOPICS (sizeof(topics) / sizeof(topics[0]))

const char *repl_topic_at(uint32_t i)
{
    return i < N_TOPICS ? topics[i].name : NULL;
}

static const struct topic *topic_of(const struct repl_command *command)
{
    char name[64];
    snprintf(name, sizeof(name), " %s ", command->name);
    size_t t = 0;
    while (t + 1 < N_TOPICS && strstr(topics[t].commands, name) == NULL) {
        t++;
    }
    return &topics[t];
}

/* " Also: q, exit." */
static void print_aliases(const struct repl_command *command)
{
    const char *alias, *stands_for, *before = " Also: ";
    for (uint32_t i = 0; repl_alias_at(i, &alias, &stands_for); i++) {
        if (strcmp(stands_for, command->name) == 0) {
            printf("%s%s", before, alias);
            before = ", ";
        }
    }
    printf("%s", before[0] == ',' ? "." : "");
}

static void print_usage(const struct repl_command *command, const char *indent)
{
    const char *args = command->args != NULL ? command->args : "";
    printf("%s%s%s%s\n%s    %s.", indent, command->name, args[0] != '\0' ? " " : "", args, indent, command->help);
    print_aliases(command);
    printf("\n");
}

void repl_describe_command(const struct repl_command *command)
{
    print_usage(command, "");
    if (command->repeats) {
        printf("    An empty line repeats it.\n");
    }
    if (command->example != NULL) {
        printf("    Example: %s\n", command->example);
    }
}

static void print_topic(const struct topic *topic)
{
    printf("%s: %s\n", topic->name, topic->what);
    for (uint32_t i = 0; repl_command_at(i) != NULL; i++) {
        if (topic_of(repl_command_at(i)) == topic) {
            print_usage(repl_command_at(i), "  ");
        }
    }
}

enum status do_help(struct repl *repl, const struct words *words, struct error *err)
{
    (void)repl;
    for (size_t t = 0; t < N_TOPICS; t++) {
        if (words->n == 0 || strcmp(topics[t].name, words->word[0]) == 0) {
            print_topic(&topics[t]);
        }
        if (words->n == 1 && strcmp(topics[t].name, words->word[0]) == 0) {
            return STATUS_OK;
        }
    }
    if (words->n == 1) {
        const struct repl_command *command;
        TRY(repl_find_command(words->word[0], &command, err));
        repl_describe_command(command);
        return STATUS_OK;
    }
    printf("A command may be abbreviated to any beginning that fits no other. # begins a comment. help TOPIC lists the "
           "commands of one of these topics, help COMMAND describes a command.\n");
    return STATUS_OK;
}
