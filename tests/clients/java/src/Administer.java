import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/** Administrative questions and changes, one command per line of standard input, each answered up to an `end` line. */
final class Administer {
    private final Options options;

    Administer(Options options) {
        this.options = options;
    }

    void run() throws Exception {
        try (Admin admin = Admin.create(Settings.common(options));
                BufferedReader lines = new BufferedReader(new InputStreamReader(System.in))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                if (!line.isBlank()) {
                    answer(admin, new Options(List.of(line.trim().split(" +"))));
                }
            }
        }
    }

    private void answer(Admin admin, Options command) {
        try {
            execute(admin, command);
        } catch (Exception error) {
            Out.error(command.command, error);
        }
        Out.line("end", "command", command.command);
    }

    private void addPartitions(Admin admin, Options command) throws Exception {
        int partitions = (int) command.number("partitions", 6);
        admin.createPartitions(Map.of(command.text("topic"), NewPartitions.increaseTo(partitions))).all().get();
        awaitLeaders(admin, command.text("topic"), partitions);
    }

    private void execute(Admin admin, Options command) throws Exception {
        switch (command.command) {
            case "create-topic" -> createTopic(admin, command);
            case "delete-topic" -> admin.deleteTopics(List.of(command.text("topic"))).all().get();
            case "add-partitions" -> addPartitions(admin, command);
            case "describe-topic" -> describeTopic(admin, command);
            case "describe-cluster" -> describeCluster(admin);
            case "list-groups" -> listGroups(admin);
            case "describe-configs" -> describeConfigs(admin, command);
            case "alter-configs" -> alterConfigs(admin, command);
            case "offsets" -> offsets(admin, command);
            case "move-leader" -> moveLeader(admin, command);
            case "commit" -> commit(admin, command);
            case "add-acl" -> addAcl(admin, command);
            case "delete-records" -> deleteRecords(admin, command);
            case "alter-quota" -> alterQuota(admin, command);
            default -> throw new IllegalArgumentException("unknown command " + command.command);
        }
    }

    /** Commits for a group without members; makes the group where there is none. */
    private void commit(Admin admin, Options command) throws Exception {
        int first = (int) command.number("partition", 0);
        long count = command.number("partitions", 1);
        OffsetAndMetadata position = new OffsetAndMetadata(command.number("offset", 0));
        Map<TopicPartition, OffsetAndMetadata> positions = new HashMap<>();
        for (int partition = first; partition < first + count; partition++) {
            positions.put(new TopicPartition(command.text("topic"), partition), position);
        }
        admin.alterConsumerGroupOffsets(command.text("group"), positions).all().get();
    }

    private void createTopic(Admin admin, Options command) throws Exception {
        Map<String, String> configs = new HashMap<>();
        for (String config : command.all("config")) {
            int equals = config.indexOf('=');
            configs.put(config.substring(0, equals), config.substring(equals + 1));
        }
        int partitions = (int) command.number("partitions", 6);
        NewTopic topic = new NewTopic(command.text("topic"), partitions, (short) command.number("replication", 1));
        admin.createTopics(List.of(topic.configs(configs))).all().get();
        awaitLeaders(admin, command.text("topic"), partitions);
    }

    /** Creation is answered before every broker knows the leaders; callers want a topic that works. */
    private void awaitLeaders(Admin admin, String topic, int partitions) {
        for (int attempt = 0; !hasLeaders(admin, topic, partitions); attempt++) {
            if (attempt == 600) {
                throw new IllegalStateException("no leaders for " + topic + " after 30 s");
            }
            Pause.milliseconds(50);
        }
    }

    private boolean hasLeaders(Admin admin, String topic, int partitions) {
        try {
            TopicDescription description = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
            return description.partitions().size() == partitions
                    && description.partitions().stream().allMatch(info -> info.leader() != null);
        } catch (Exception unknownYet) {
            return false;
        }
    }

    private void describeTopic(Admin admin, Options command) throws Exception {
        String name = command.text("topic");
        admin.describeTopics(List.of(name)).allTopicNames().get().get(name).partitions().forEach(info ->
                Out.line("partition", "partition", info.partition(),
                        "leader", info.leader() == null ? -1 : info.leader().id(),
                        "replicas", info.replicas().stream().map(node -> node.id()).toList(),
                        "in_sync", info.isr().stream().map(node -> node.id()).toList()));
    }

    /** Makes another replica the preferred leader, elects it and waits until it leads. */
    private void moveLeader(Admin admin, Options command) throws Exception {
        TopicPartition partition = new TopicPartition(command.text("topic"), (int) command.number("partition", 0));
        int wanted = (int) command.number("to", -1);
        List<Integer> replicas = new ArrayList<>(List.of(wanted));
        info(admin, partition).replicas().stream().map(node -> node.id()).filter(id -> id != wanted)
                .forEach(replicas::add);
        admin.alterPartitionReassignments(Map.of(partition, Optional.of(new NewPartitionReassignment(replicas))))
                .all().get();
        for (int attempt = 0; attempt < 200 && info(admin, partition).leader().id() != wanted; attempt++) {
            // Refused while the reassignment goes on, and where nothing is left to elect.
            admin.electLeaders(ElectionType.PREFERRED, Set.of(partition)).partitions().get();
            Pause.milliseconds(50);
        }
        Out.line("leader", "partition", partition.partition(), "leader", info(admin, partition).leader().id());
    }

    private static TopicPartitionInfo info(Admin admin, TopicPartition partition) throws Exception {
        return admin.describeTopics(List.of(partition.topic())).allTopicNames().get().get(partition.topic())
                .partitions().get(partition.partition());
    }

    private void describeCluster(Admin admin) throws Exception {
        var cluster = admin.describeCluster();
        Out.line("cluster", "id", cluster.clusterId().get(), "controller", cluster.controller().get().id());
        cluster.nodes().get().forEach(node ->
                Out.line("node", "id", node.id(), "host", node.host(), "port", node.port()));
    }

    @SuppressWarnings("removal") // listGroups came with 4.0; this call is the one that every version has
    private void listGroups(Admin admin) throws Exception {
        admin.listConsumerGroups().all().get().forEach(group ->
                Out.line("group", "group", group.groupId(), "state", String.valueOf(group.state().orElse(null))));
    }

    private void describeConfigs(Admin admin, Options command) throws Exception {
        ConfigResource resource = resource(command);
        Map<String, Object> values = new TreeMap<>();
        admin.describeConfigs(List.of(resource)).all().get().get(resource).entries()
                .forEach(entry -> values.put(entry.name(), entry.value()));
        Out.line("configs", "values", values);
    }

    private void alterConfigs(Admin admin, Options command) throws Exception {
        List<AlterConfigOp> changes = new ArrayList<>();
        for (String config : command.all("config")) {
            int equals = config.indexOf('=');
            changes.add(new AlterConfigOp(new ConfigEntry(config.substring(0, equals), config.substring(equals + 1)),
                    AlterConfigOp.OpType.SET));
        }
        admin.incrementalAlterConfigs(Map.of(resource(command), changes)).all().get();
    }

    private static ConfigResource resource(Options command) {
        if (command.has("topic")) {
            return new ConfigResource(ConfigResource.Type.TOPIC, command.text("topic"));
        }
        if (command.has("group")) {
            return new ConfigResource(ConfigResource.Type.valueOf("GROUP"), command.text("group"));
        }
        return new ConfigResource(ConfigResource.Type.BROKER, command.text("broker"));
    }

    private void offsets(Admin admin, Options command) throws Exception {
        String topic = command.text("topic");
        var committed = admin.listConsumerGroupOffsets(command.text("group")).partitionsToOffsetAndMetadata().get();
        Map<TopicPartition, OffsetSpec> ends = new HashMap<>();
        admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions()
                .forEach(info -> ends.put(new TopicPartition(topic, info.partition()), OffsetSpec.latest()));
        var latest = admin.listOffsets(ends).all().get();
        for (int partition = 0; partition < ends.size(); partition++) {
            TopicPartition key = new TopicPartition(topic, partition);
            var position = committed.get(key);
            Out.line("offsets", "partition", partition,
                    "committed", position == null ? null : position.offset(),
                    "log_end", latest.get(key).offset());
        }
    }

    private void addAcl(Admin admin, Options command) throws Exception {
        ResourceType type = ResourceType.fromString(command.text("resource"));
        ResourcePattern pattern = new ResourcePattern(type, command.text("name"), PatternType.LITERAL);
        AclPermissionType permission = command.has("deny") ? AclPermissionType.DENY : AclPermissionType.ALLOW;
        AccessControlEntry entry = new AccessControlEntry(command.text("principal"), "*",
                AclOperation.fromString(command.text("operation")), permission);
        admin.createAcls(List.of(new AclBinding(pattern, entry))).all().get();
    }

    /** Removes the records before an offset, as retention would. */
    private void deleteRecords(Admin admin, Options command) throws Exception {
        TopicPartition partition = new TopicPartition(command.text("topic"), (int) command.number("partition", 0));
        long before = command.number("before", 0);
        long start = admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(before)))
                .lowWatermarks().get(partition).get().lowWatermark();
        Out.line("start", "partition", partition.partition(), "offset", start);
    }

    private void alterQuota(Admin admin, Options command) throws Exception {
        ClientQuotaEntity entity = new ClientQuotaEntity(Map.of(ClientQuotaEntity.CLIENT_ID, command.text("client-id")));
        ClientQuotaAlteration.Op op =
                new ClientQuotaAlteration.Op(command.text("quota"), (double) command.number("value", 0));
        admin.alterClientQuotas(List.of(new ClientQuotaAlteration(entity, List.of(op)))).all().get();
    }
}
