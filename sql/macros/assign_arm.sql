-- The arm of an experiment that a user is in: always the same one for the same user, experiment, arms and shares, on
-- any machine and in any version of DuckDB, with nothing stored. Each user has a place on a line from 0 to 1, evenly,
-- and independently for each experiment: the first ten hexadecimal digits of md5('<length of the experiment's
-- name>:<its name>:<user>'), over 16^10, so that an application can work it out too. The arms cut the line in their
-- order, and a user's arm changes only if a cut moves past them. If the shares add up to less than 1 and the last one
-- grows, nobody changes, and users who were in no arm come in; likewise if an arm is added at the end. If the last
-- share grows at the cost of the one before it, users go from that one to the last, and no others move. Null for a
-- user who is null, or in no arm.
-- argument user_id: who is assigned; taken as text, so that 7 and '7' are one user, and 7.0 another
-- argument experiment: its name; another name assigns anew
-- argument arms: their names, in order
-- argument shares: of each arm, none negative: numbers that add up to at most 1 are shares of all users, the rest of whom
--     is in no arm; whole numbers that add up to more are weights, of which all users get one arm; null for equal shares
-- example: select assign_arm('u-17', 'new-search', arms := ['control', 'treatment'], shares := [0.1, 0.1])
-- needs:
create macro assign_arm(user_id, experiment, arms := ['A', 'B'], shares := null) as
case
    when experiment is null then error('assign_arm: the experiment needs a name, not null.')
    when arms is null or len(arms) = 0 or list_contains([x is null for x in arms], true)
        or len(list_distinct(arms)) < len(arms)
        then error('assign_arm: arms must be a list of different names, such as [''A'', ''B''].')
    when shares is not null and len(shares) <> len(arms) then error(concat(
        'assign_arm: ', len(arms), ' arms need as many shares, not ', len(shares), '.'))
    when list_contains([x is null or not isfinite(x::double) or x::double < 0 for x in shares], true)
        or list_sum([x::double for x in shares]) = 0
        then error('assign_arm: shares must be numbers of 0 or above, at least one of them above 0.')
    when list_sum([x::double for x in shares]) > 1.000000001
        and list_contains([x::double <> floor(x::double) for x in shares], true)
        then error(concat('assign_arm: shares of users add up to 1 at most, not ', list_sum([x::double for x in shares]),
            '. Whole numbers are weights, and may add up to anything.'))
    when user_id is null then null
    -- The line is 2^40 long. The arm is the one after all those that end at the user's place or before it. Another lambda
    -- around it keeps the place from being hashed once for each arm.
    else list_transform(
        [('0x' || substr(md5(concat(length(experiment::varchar), ':', experiment, ':', user_id)), 1, 10))::bigint],
        lambda place: arms[1 + len(list_filter(
            [
                round(1099511627776 * list_sum([x::double for x in coalesce(shares, [1 for y in arms])][:upto])
                    / greatest(1, list_sum([x::double for x in coalesce(shares, [1 for y in arms])])))
                for upto in range(1, len(arms) + 1)
            ],
            lambda reach: reach <= place
        ))]
    )[1]
end
