-- What each label means, from `task.labels` in `synalign.toml`.
-- key: label
-- label: the label
-- label_name: its meaning
-- needs:
select label, label_name from raw_label_names
